#include "proto/chunk_frame.h"

#include <cstring>

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include "proto/limits.h"

namespace ckpt {
namespace {

using google::protobuf::io::CodedOutputStream;
using google::protobuf::internal::WireFormatLite;

// Field numbers of ckpt.v1.ChunkFrame.
constexpr uint32_t kUploadId = 1;
constexpr uint32_t kChunkIndex = 2;
constexpr uint32_t kEnd = 3;
constexpr uint32_t kData = 15;

uint32_t Tag(uint32_t field, WireFormatLite::WireType type) {
  return WireFormatLite::MakeTag(static_cast<int>(field), type);
}

absl::Status Bad(std::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kBadFrame,
                   fmt::format("a message of the chunk stream is no ChunkFrame: {}", what));
}

// Reads protobuf's wire format across slices, handing out sub-slices.
class SliceReader {
 public:
  explicit SliceReader(const std::vector<grpc::Slice>& slices) : slices_(slices) { Skip(); }

  bool done() const { return index_ == slices_.size(); }

  bool ReadByte(uint8_t* byte) {
    if (done()) return false;
    *byte = slices_[index_].begin()[position_++];
    Skip();
    return true;
  }

  bool ReadVarint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      uint8_t byte;
      if (!ReadByte(&byte)) return false;
      *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  // `sink(slice_index, offset, size)` for each piece of the next `size` bytes.
  template <typename Sink>
  bool Take(uint64_t size, Sink sink) {
    while (size > 0) {
      if (done()) return false;
      size_t here = std::min<uint64_t>(size, slices_[index_].size() - position_);
      sink(slices_[index_], position_, here);
      position_ += here;
      size -= here;
      Skip();
    }
    return true;
  }

 private:
  void Skip() {
    while (index_ < slices_.size() && position_ == slices_[index_].size()) {
      ++index_;
      position_ = 0;
    }
  }

  const std::vector<grpc::Slice>& slices_;
  size_t index_ = 0;
  size_t position_ = 0;
};

bool SkipField(SliceReader& reader, uint32_t wire_type) {
  auto ignore = [](const grpc::Slice&, size_t, size_t) {};
  uint64_t value;
  switch (wire_type) {
    case WireFormatLite::WIRETYPE_VARINT: return reader.ReadVarint(&value);
    case WireFormatLite::WIRETYPE_FIXED64: return reader.Take(8, ignore);
    case WireFormatLite::WIRETYPE_FIXED32: return reader.Take(4, ignore);
    case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
      return reader.ReadVarint(&value) && reader.Take(value, ignore);
    default: return false;  // groups: no message of ours had any
  }
}

}  // namespace

size_t ChunkFrame::data_bytes() const {
  size_t total = 0;
  for (const grpc::Slice& slice : data) total += slice.size();
  return total;
}

grpc::Slice BorrowSlice(const void* data, size_t size, void (*release)(void*), void* arg) {
  return grpc::Slice(const_cast<void*>(data), size, release, arg);
}

grpc::ByteBuffer EncodeFrame(const ChunkFrame& frame) {
  uint8_t header[kMaxNameBytes + 64];
  uint8_t* out = header;
  if (!frame.upload_id.empty()) {
    std::string id = frame.upload_id.substr(0, kMaxNameBytes);
    out = CodedOutputStream::WriteTagToArray(
        Tag(kUploadId, WireFormatLite::WIRETYPE_LENGTH_DELIMITED), out);
    out = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(id.size()), out);
    out = CodedOutputStream::WriteStringToArray(id, out);
  }
  if (frame.chunk_index != 0) {
    out = CodedOutputStream::WriteTagToArray(Tag(kChunkIndex, WireFormatLite::WIRETYPE_VARINT), out);
    out = CodedOutputStream::WriteVarint32ToArray(frame.chunk_index, out);
  }
  if (frame.end) {
    out = CodedOutputStream::WriteTagToArray(Tag(kEnd, WireFormatLite::WIRETYPE_VARINT), out);
    out = CodedOutputStream::WriteVarint32ToArray(1, out);
  }
  size_t bytes = frame.data_bytes();
  if (bytes > 0) {
    out = CodedOutputStream::WriteTagToArray(
        Tag(kData, WireFormatLite::WIRETYPE_LENGTH_DELIMITED), out);
    out = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(bytes), out);
  }
  std::vector<grpc::Slice> slices;
  slices.reserve(1 + frame.data.size());
  slices.emplace_back(header, static_cast<size_t>(out - header));
  slices.insert(slices.end(), frame.data.begin(), frame.data.end());
  return {slices.data(), slices.size()};
}

absl::StatusOr<ChunkFrame> DecodeFrame(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return Bad("its bytes cannot be read");
  SliceReader reader(slices);
  ChunkFrame frame;
  while (!reader.done()) {
    uint64_t tag;
    if (!reader.ReadVarint(&tag)) return Bad("it ends within a field");
    uint64_t field = tag >> 3;
    uint32_t type = tag & 7;
    uint64_t value = 0;
    if (field == 0) return Bad("a field has number 0");
    bool varint = type == WireFormatLite::WIRETYPE_VARINT;
    bool bytes = type == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    if ((varint && (field == kChunkIndex || field == kEnd)) ||
        (bytes && (field == kUploadId || field == kData))) {
      if (!reader.ReadVarint(&value)) return Bad("it ends within a field");
      if (field == kChunkIndex) {
        if (value > UINT32_MAX) return Bad("the chunk index is too large");
        frame.chunk_index = static_cast<uint32_t>(value);
      } else if (field == kEnd) {
        frame.end = value != 0;
      } else if (field == kUploadId) {
        if (value > kMaxNameBytes) return Bad("the upload id is too long");
        frame.upload_id.clear();
        if (!reader.Take(value, [&](const grpc::Slice& slice, size_t offset, size_t size) {
              frame.upload_id.append(reinterpret_cast<const char*>(slice.begin()) + offset, size);
            })) {
          return Bad("it ends within the upload id");
        }
      } else {
        if (value > kMaxChunkBytes) {
          return Bad(fmt::format("it has {} data bytes, but a chunk has at most {}", value,
                                 kMaxChunkBytes));
        }
        frame.data.clear();
        if (!reader.Take(value, [&](const grpc::Slice& slice, size_t offset, size_t size) {
              frame.data.push_back(slice.sub(offset, offset + size));
            })) {
          return Bad("it ends within the data");
        }
      }
    } else if (!SkipField(reader, type)) {
      return Bad(fmt::format("field {} cannot be skipped", field));
    }
  }
  return frame;
}

}  // namespace ckpt
