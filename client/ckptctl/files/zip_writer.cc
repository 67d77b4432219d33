#include "client/ckptctl/files/zip_writer.h"

#include <zlib.h>

namespace ckpt::ctl {
namespace {

// The names and numbers of PKWARE's APPNOTE.TXT.
constexpr uint32_t kLocalHeaderSignature = 0x04034b50;
constexpr uint32_t kDirectorySignature = 0x02014b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kEnd64LocatorSignature = 0x07064b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint16_t kVersionPlain = 20;
constexpr uint16_t kVersionZip64 = 45;
constexpr uint16_t kFlagUtf8 = 1 << 11;
constexpr uint16_t kExtraZip64 = 0x0001;
constexpr uint16_t kExtraPadding = 0x4246;              // "FB", torch's own
constexpr uint16_t kDosDate = (0 << 9) | (1 << 5) | 1;  // 1980-01-01: files come out the same
constexpr uint64_t kMax32 = 0xffffffff;
constexpr uint64_t kMax16 = 0xffff;
constexpr uint64_t kLocalHeaderBytes = 30;
constexpr uint64_t kAlignment = 64;

void Put(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}
void Put16(std::string& out, uint64_t value) { Put(out, value, 2); }
void Put32(std::string& out, uint64_t value) { Put(out, value, 4); }
void Put64(std::string& out, uint64_t value) { Put(out, value, 8); }

std::span<const std::byte> Bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace

size_t ZipWriter::Add(std::string name, uint64_t size) {
  Record record;
  record.name = std::move(name);
  record.size = size;
  record.header_offset = end_;
  record.data_offset = end_ + kLocalHeaderBytes + record.name.size();
  if (size >= kMax32) record.data_offset += 20;
  record.data_offset += 4;  // the padding's own header
  record.data_offset = (record.data_offset + kAlignment - 1) / kAlignment * kAlignment;
  end_ = record.data_offset + size;
  records_.push_back(std::move(record));
  return records_.size() - 1;
}

uint64_t ZipWriter::total_size() const { return end_ + Directory().size(); }

absl::Status ZipWriter::Write(size_t index, std::span<const std::byte> bytes) {
  Record& record = records_[index];
  if (bytes.size() > record.size - record.written) {
    return MakeError(absl::StatusCode::kInternal, reason::kInternal,
                     fmt::format("more bytes than announced for '{}'", record.name));
  }
  record.crc = static_cast<uint32_t>(
      crc32_z(record.crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
  RETURN_IF_ERROR(file_->WriteAt(record.data_offset + record.written, bytes));
  record.written += bytes.size();
  return absl::OkStatus();
}

absl::Status ZipWriter::Write(size_t index, std::string_view bytes) {
  return Write(index, Bytes(bytes));
}

std::string ZipWriter::LocalHeader(const Record& record) const {
  const bool zip64 = record.size >= kMax32;
  std::string out;
  Put32(out, kLocalHeaderSignature);
  Put16(out, zip64 ? kVersionZip64 : kVersionPlain);
  Put16(out, kFlagUtf8);
  Put16(out, 0);  // stored
  Put16(out, 0);  // time
  Put16(out, kDosDate);
  Put32(out, record.crc);
  Put32(out, zip64 ? kMax32 : record.size);
  Put32(out, zip64 ? kMax32 : record.size);
  Put16(out, record.name.size());
  const uint64_t extra =
      record.data_offset - record.header_offset - kLocalHeaderBytes - record.name.size();
  Put16(out, extra);
  out += record.name;
  uint64_t padding = extra - 4;
  if (zip64) {
    Put16(out, kExtraZip64);
    Put16(out, 16);
    Put64(out, record.size);
    Put64(out, record.size);
    padding -= 20;
  }
  Put16(out, kExtraPadding);
  Put16(out, padding);
  out.append(padding, 'Z');
  return out;
}

std::string ZipWriter::Directory() const {
  std::string out;
  for (const Record& record : records_) {
    const bool big = record.size >= kMax32;
    const bool far = record.header_offset >= kMax32;
    std::string extra;
    if (big) {
      Put64(extra, record.size);
      Put64(extra, record.size);
    }
    if (far) Put64(extra, record.header_offset);
    const uint16_t version = big || far ? kVersionZip64 : kVersionPlain;
    Put32(out, kDirectorySignature);
    Put16(out, version);
    Put16(out, version);
    Put16(out, kFlagUtf8);
    Put16(out, 0);
    Put16(out, 0);
    Put16(out, kDosDate);
    Put32(out, record.crc);
    Put32(out, big ? kMax32 : record.size);
    Put32(out, big ? kMax32 : record.size);
    Put16(out, record.name.size());
    Put16(out, extra.empty() ? 0 : extra.size() + 4);
    Put16(out, 0);  // comment
    Put16(out, 0);  // disk
    Put16(out, 0);  // internal attributes
    Put32(out, 0);  // external attributes
    Put32(out, far ? kMax32 : record.header_offset);
    out += record.name;
    if (!extra.empty()) {
      Put16(out, kExtraZip64);
      Put16(out, extra.size());
      out += extra;
    }
  }
  const uint64_t size = out.size();
  const bool zip64 = records_.size() >= kMax16 || end_ >= kMax32 || size >= kMax32;
  if (zip64) {
    Put32(out, kEnd64Signature);
    Put64(out, 44);  // what follows of this record
    Put16(out, kVersionZip64);
    Put16(out, kVersionZip64);
    Put32(out, 0);
    Put32(out, 0);
    Put64(out, records_.size());
    Put64(out, records_.size());
    Put64(out, size);
    Put64(out, end_);
    Put32(out, kEnd64LocatorSignature);
    Put32(out, 0);
    Put64(out, end_ + size);
    Put32(out, 1);
  }
  Put32(out, kEndSignature);
  Put16(out, 0);
  Put16(out, 0);
  Put16(out, std::min<uint64_t>(records_.size(), kMax16));
  Put16(out, std::min<uint64_t>(records_.size(), kMax16));
  Put32(out, std::min(size, kMax32));
  Put32(out, std::min(end_, kMax32));
  Put16(out, 0);  // comment
  return out;
}

absl::Status ZipWriter::Finish() {
  for (const Record& record : records_) {
    if (record.written != record.size) {
      return MakeError(
          absl::StatusCode::kInternal, reason::kInternal,
          fmt::format("'{}' has {} of {} bytes", record.name, record.written, record.size));
    }
    RETURN_IF_ERROR(file_->WriteAt(record.header_offset, Bytes(LocalHeader(record))));
  }
  return file_->WriteAt(end_, Bytes(Directory()));
}

}  // namespace ckpt::ctl
