#include "daemon/chunks/layout.h"

#include <algorithm>
#include <cstring>

#include <absl/strings/numbers.h>
#include <absl/strings/strip.h>
#include <fmt/format.h>

#include "daemon/os/little_endian.h"

namespace ckptd {
namespace {

using os::GetAt;
using os::PutAt;

constexpr std::string_view kPackMagic = "CKPTPACK";
constexpr std::string_view kRecordMagic = "CKR1";
constexpr std::string_view kPackSuffix = ".pack";
constexpr size_t kIdDigits = 16;
constexpr size_t kPackHeaderChecked = 24;
constexpr size_t kRecordHeaderChecked = 56;

bool HasMagic(const std::byte* at, std::string_view magic) {
  return std::memcmp(at, magic.data(), magic.size()) == 0;
}

absl::Status CheckFormat(const Layout& layout, const std::string& text) {
  absl::string_view rest = text;
  uint32_t version = 0;
  if (!absl::ConsumePrefix(&rest, "ckptd ") || !absl::ConsumeSuffix(&rest, "\n") ||
      !absl::SimpleAtoi(rest, &version) || version == 0) {
    return ckpt::MakeError(absl::StatusCode::kFailedPrecondition, ckpt::reason::kCatalogDamaged,
                           fmt::format("{} does not say which version wrote the directory: it "
                                       "should read \"ckptd {}\"; restore it, or use another data "
                                       "directory",
                                       layout.Format(), kLayoutVersion));
  }
  if (version > kLayoutVersion) {
    return ckpt::MakeError(
        absl::StatusCode::kFailedPrecondition, ckpt::reason::kVersionTooNew,
        fmt::format("{} was written by a newer ckptd (layout {}, this one knows up to {}): start "
                    "that version, or use another data directory",
                    layout.dir(), version, kLayoutVersion));
  }
  return absl::OkStatus();
}

}  // namespace

std::string Layout::PackDir(PackId id) const {
  return fmt::format("{}/{:02x}", Packs(), id & 0xff);
}

std::string Layout::Pack(PackId id) const {
  return fmt::format("{}/{:016x}{}", PackDir(id), id, kPackSuffix);
}

std::optional<PackId> ParsePackName(std::string_view name) {
  if (name.size() != kIdDigits + kPackSuffix.size() || !name.ends_with(kPackSuffix)) return {};
  PackId id = 0;
  for (const char c : name.substr(0, kIdDigits)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'a' && c <= 'f')) return {};
    id = id << 4 | static_cast<PackId>(digit ? c - '0' : c - 'a' + 10);
  }
  return id;
}

absl::StatusOr<std::unique_ptr<os::FileLock>> ClaimDataDir(os::FileSystem* fs,
                                                           const Layout& layout) {
  ASSIGN_OR_RETURN(const std::vector<std::string> changed, fs->CreateDirs(layout.dir()));
  for (const std::string& dir : changed) RETURN_IF_ERROR(fs->SyncDir(dir));
  ASSIGN_OR_RETURN(std::unique_ptr<os::FileLock> lock, fs->Lock(layout.Lock()));

  absl::StatusOr<std::string> format = fs->ReadFile(layout.Format());
  if (absl::IsNotFound(format.status())) {
    // The first thing in a new directory, so that nothing is ever without it.
    RETURN_IF_ERROR(fs->ReplaceFile(layout.Format(), fmt::format("ckptd {}\n", kLayoutVersion)));
    return lock;
  }
  if (!format.ok()) return format.status();
  RETURN_IF_ERROR(CheckFormat(layout, *format));
  return lock;
}

void EncodeRecordHeader(const RecordHeader& header, std::span<std::byte, kRecordHeaderBytes> out) {
  std::fill(out.begin(), out.end(), std::byte{0});
  std::byte* const at = out.data();
  std::memcpy(at, kRecordMagic.data(), kRecordMagic.size());
  PutAt(at + 4, static_cast<uint8_t>(header.type));
  PutAt(at + 8, header.length);
  PutAt(at + 12, static_cast<uint32_t>(header.offset / os::kBlockBytes));
  PutAt(at + 16, header.digest.bytes);
  PutAt(at + 48, header.pack);
  const ckpt::Digest check = ckpt::HashBytes(at, kRecordHeaderChecked);
  std::memcpy(at + kRecordHeaderChecked, check.bytes.data(),
              kRecordHeaderBytes - kRecordHeaderChecked);
}

std::optional<RecordHeader> DecodeRecordHeader(std::span<const std::byte, kRecordHeaderBytes> in) {
  const std::byte* const at = in.data();
  if (!HasMagic(at, kRecordMagic)) return {};
  const ckpt::Digest check = ckpt::HashBytes(at, kRecordHeaderChecked);
  if (std::memcmp(at + kRecordHeaderChecked, check.bytes.data(),
                  kRecordHeaderBytes - kRecordHeaderChecked) != 0) {
    return {};
  }
  RecordHeader header;
  header.type = static_cast<RecordType>(GetAt<uint8_t>(at + 4));
  header.length = GetAt<uint32_t>(at + 8);
  header.offset = uint64_t{GetAt<uint32_t>(at + 12)} * os::kBlockBytes;
  header.digest.bytes = GetAt<decltype(header.digest.bytes)>(at + 16);
  header.pack = GetAt<PackId>(at + 48);
  const auto flags = GetAt<uint8_t>(at + 5);
  const auto unused = GetAt<uint16_t>(at + 6);
  if (flags != 0 || unused != 0) return {};
  switch (header.type) {
    case RecordType::kChunk:
    case RecordType::kEncoded:
      if (header.length == 0 || header.length > ckpt::kMaxChunkBytes) return {};
      return header;
    case RecordType::kNote:
      if (header.length > kMaxNoteBytes) return {};
      return header;
  }
  return {};
}

void EncodePackHeader(PackId id, std::span<std::byte, kPackHeaderBytes> out) {
  std::fill(out.begin(), out.end(), std::byte{0});
  std::byte* const at = out.data();
  std::memcpy(at, kPackMagic.data(), kPackMagic.size());
  PutAt(at + 8, kPackVersion);
  PutAt(at + 16, id);
  PutAt(at + kPackHeaderChecked, ckpt::HashBytes(at, kPackHeaderChecked).bytes);
}

std::optional<PackHeader> DecodePackHeader(std::span<const std::byte, kPackHeaderBytes> in) {
  const std::byte* const at = in.data();
  if (!HasMagic(at, kPackMagic)) return {};
  const ckpt::Digest check = ckpt::HashBytes(at, kPackHeaderChecked);
  if (GetAt<decltype(check.bytes)>(at + kPackHeaderChecked) != check.bytes) return {};
  return PackHeader{.version = GetAt<uint32_t>(at + 8), .id = GetAt<PackId>(at + 16)};
}

}  // namespace ckptd
