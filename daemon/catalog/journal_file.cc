#include "daemon/catalog/journal_file.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "daemon/os/little_endian.h"

namespace ckptd::catalog {
namespace {

using os::GetAt;
using os::PutAt;

constexpr std::string_view kMagic = "CKJ1";
constexpr size_t kHeaderBytes = 64;
constexpr size_t kDigestAt = 32;
constexpr uint32_t kVersion = 1;
constexpr size_t kHeadBytes = 4 + 4 + kCatalogIdBytes + 8 + ckpt::Digest::kBytes;
constexpr int kLevel = 1;
// What one frame may hold; SQLite's values end at 1e9 bytes.
constexpr uint64_t kMaxPayload = uint64_t{2} << 30;

ckpt::Digest FrameDigest(const ckpt::Digest& before, const std::byte* header,
                         std::span<const std::byte> payload) {
  const std::array<std::span<const std::byte>, 3> parts = {std::as_bytes(std::span(before.bytes)),
                                                           std::span(header, kDigestAt), payload};
  return ckpt::HashParts(parts);
}

struct Header {
  FrameKind kind = FrameKind::kHead;
  uint64_t number = 0, stored = 0, raw = 0;
};

std::optional<Header> DecodeHeader(const std::byte* at) {
  if (std::memcmp(at, kMagic.data(), kMagic.size()) != 0) return {};
  Header header;
  header.kind = static_cast<FrameKind>(GetAt<uint32_t>(at + 4));
  header.number = GetAt<uint64_t>(at + 8);
  header.stored = GetAt<uint64_t>(at + 16);
  header.raw = GetAt<uint64_t>(at + 24);
  if (header.kind < FrameKind::kHead || header.kind > FrameKind::kEnd) return {};
  if (header.stored > kMaxPayload || header.raw > kMaxPayload) return {};
  return header;
}

}  // namespace

std::string ToString(const JournalName& name) {
  return fmt::format("{:016x}.{}", name.number, name.snapshot ? "snapshot" : "records");
}

std::optional<JournalName> ParseJournalName(std::string_view text) {
  JournalName name;
  for (const char c : text.substr(0, 16)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && !(c >= 'a' && c <= 'f')) return {};
    name.number = name.number << 4 | static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  name.snapshot = text.ends_with("snapshot");
  if (ToString(name) != text) return {};
  return name;
}

std::string EncodeHead(const Head& head) {
  std::string out(8, '\0');
  PutAt(reinterpret_cast<std::byte*>(out.data()), kVersion);
  PutAt(reinterpret_cast<std::byte*>(out.data()) + 4, head.schema);
  out += head.position.catalog;
  out.append(reinterpret_cast<const char*>(&head.position.sequence), 8);
  out += head.position.digest.View();
  return out;
}

std::optional<Head> DecodeHead(std::string_view payload) {
  if (payload.size() != kHeadBytes) return {};
  const auto* at = reinterpret_cast<const std::byte*>(payload.data());
  if (GetAt<uint32_t>(at) != kVersion) return {};
  Head head;
  head.schema = GetAt<uint32_t>(at + 4);
  head.position.catalog = payload.substr(8, kCatalogIdBytes);
  head.position.sequence = GetAt<uint64_t>(at + 8 + kCatalogIdBytes);
  head.position.digest = *ckpt::Digest::FromBytes(payload.substr(16 + kCatalogIdBytes));
  return head;
}

std::span<const std::byte> FrameWriter::Encode(FrameKind kind, uint64_t number,
                                               const ckpt::Digest& before, std::string_view payload,
                                               ckpt::Digest& digest) {
  uint64_t raw = 0;
  if (os::RoundUpToBlock(kHeaderBytes + payload.size()) > os::kBlockBytes) {
    compressed_.resize(ZSTD_compressBound(payload.size()));
    const size_t size = ZSTD_compress(compressed_.data(), compressed_.size(), payload.data(),
                                      payload.size(), kLevel);
    if (ZSTD_isError(size) == 0 && size < payload.size()) {
      raw = payload.size();
      payload = std::string_view(compressed_).substr(0, size);
    }
  }
  const size_t length = os::RoundUpToBlock(kHeaderBytes + payload.size());
  if (length > capacity_) {
    capacity_ = std::bit_ceil(length);
    memory_ = os::AllocateForIo(capacity_);
  }
  std::byte* const at = memory_.get();
  std::memcpy(at, kMagic.data(), kMagic.size());
  PutAt(at + 4, static_cast<uint32_t>(kind));
  PutAt(at + 8, number);
  PutAt(at + 16, uint64_t{payload.size()});
  PutAt(at + 24, raw);
  std::memcpy(at + kHeaderBytes, payload.data(), payload.size());
  std::memset(at + kHeaderBytes + payload.size(), 0, length - kHeaderBytes - payload.size());
  digest = FrameDigest(before, at, {at + kHeaderBytes, payload.size()});
  std::memcpy(at + kDigestAt, digest.bytes.data(), ckpt::Digest::kBytes);
  return {at, length};
}

absl::StatusOr<std::optional<Frame>> ReadFrame(os::File& file, uint64_t offset,
                                               const ckpt::Digest& before, bool with_payload) {
  ASSIGN_OR_RETURN(const uint64_t size, file.Size());
  if (offset + os::kBlockBytes > size) return std::nullopt;
  std::vector<std::byte> bytes(os::kBlockBytes);
  ASSIGN_OR_RETURN(size_t got, file.Read(offset, bytes));
  if (got < bytes.size()) return std::nullopt;
  const std::optional<Header> header = DecodeHeader(bytes.data());
  if (!header || header->stored > size - offset - kHeaderBytes) return std::nullopt;
  const size_t length = kHeaderBytes + header->stored;
  if (length > bytes.size()) {
    const size_t first = bytes.size();
    bytes.resize(length);
    ASSIGN_OR_RETURN(got, file.Read(offset + first, std::span(bytes).subspan(first)));
    if (got < length - first) return std::nullopt;
  }
  const std::span<const std::byte> payload = std::span(bytes).subspan(kHeaderBytes, header->stored);
  Frame frame;
  frame.kind = header->kind;
  frame.number = header->number;
  frame.digest = FrameDigest(before, bytes.data(), payload);
  if (std::memcmp(frame.digest.bytes.data(), bytes.data() + kDigestAt, ckpt::Digest::kBytes) != 0) {
    return std::nullopt;
  }
  frame.offset = offset;
  frame.end = offset + os::RoundUpToBlock(length);
  if (!with_payload) return frame;
  if (header->raw == 0) {
    frame.payload.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
    return frame;
  }
  frame.payload.resize(header->raw);
  const size_t raw =
      ZSTD_decompress(frame.payload.data(), frame.payload.size(), payload.data(), payload.size());
  if (raw != header->raw) return std::nullopt;
  return frame;
}

absl::StatusOr<std::optional<FrameName>> LastFrameName(os::File& file, uint64_t offset) {
  std::optional<FrameName> last;
  std::vector<std::byte> block(os::kBlockBytes);
  ASSIGN_OR_RETURN(const uint64_t size, file.Size());
  for (; offset + os::kBlockBytes <= size; offset += os::kBlockBytes) {
    ASSIGN_OR_RETURN(const size_t got, file.Read(offset, block));
    if (got < block.size()) break;
    if (const auto header = DecodeHeader(block.data())) last = {header->kind, header->number};
  }
  return last;
}

}  // namespace ckptd::catalog
