#include "daemon/chunks/encoded_chunk.h"

#include <array>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "daemon/chunks/codec.h"
#include "daemon/chunks/errors.h"
#include "daemon/chunks/layout.h"

namespace ckptd {
namespace {

using Bytes = std::vector<std::byte>;

// One link of the chain; `base` holds the bytes of what it is the difference to.
absl::Status Decode(PackReader& reader, const ckpt::Digest& digest, const ChunkLocation& location,
                    std::span<const std::byte> base, std::span<std::byte> out) {
  ASSIGN_OR_RETURN(const Bytes encoded, reader.ReadEncoded(digest, location));
  const std::optional<EncodedHeader> header = DecodeHeader(encoded);
  if (!header || header->digest != digest || header->length != out.size()) {
    return ChunkDamaged(digest, location, "another chunk is encoded there");
  }
  if (header->base.has_value() != (location.base != nullptr) ||
      (header->base && *header->base != location.base->digest)) {
    return ChunkDamaged(digest, location, "it is encoded as the difference to another chunk");
  }
  if (absl::Status status = DecodeChunk(encoded, base, out); !status.ok()) {
    return ChunkDamaged(digest, location, std::string(status.message()));
  }
  if (ckpt::HashBytes(out.data(), out.size()) != digest) {
    return ChunkDamaged(digest, location, "its bytes have another digest");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Bytes> PackReader::ReadEncoded(const ckpt::Digest& digest,
                                              const ChunkLocation& location) {
  absl::StatusOr<std::shared_ptr<os::File>> file = Open(location.pack);
  if (absl::IsNotFound(file.status())) return ChunkDamaged(digest, location, "the pack is gone");
  if (!file.ok()) return file.status();
  std::array<std::byte, kRecordHeaderBytes> raw;
  ASSIGN_OR_RETURN(const size_t header_bytes, (*file)->Read(location.offset, raw));
  if (header_bytes < raw.size()) return ChunkDamaged(digest, location, "the pack ends before it");
  const std::optional<RecordHeader> header = DecodeRecordHeader(raw);
  if (!header || header->type != RecordType::kEncoded || header->length != location.encoded ||
      header->pack != location.pack || header->offset != location.offset) {
    return ChunkDamaged(digest, location, "its record header does not match");
  }
  Bytes encoded(header->length);
  ASSIGN_OR_RETURN(const size_t bytes, (*file)->Read(location.offset + raw.size(), encoded));
  if (bytes < encoded.size()) return ChunkDamaged(digest, location, "the pack ends within it");
  if (ckpt::HashBytes(encoded.data(), encoded.size()) != header->digest) {
    return ChunkDamaged(digest, location, "its record has another digest");
  }
  return encoded;
}

absl::Status ReadEncodedChunk(PackReader& reader, const ckpt::Digest& digest,
                              const ChunkLocation& location, std::span<std::byte> out) {
  if (out.size() != location.length) {
    return ckpt::MakeError(absl::StatusCode::kInternal, ckpt::reason::kInternal,
                           fmt::format("a chunk of {} bytes cannot be read into {} bytes",
                                       location.length, out.size()));
  }
  std::vector<const StoredChunk*> chain;
  for (const StoredChunk* base = location.base.get(); base != nullptr;
       base = base->location.base.get()) {
    if (base->location.length != location.length) {
      return ChunkDamaged(digest, location, "its base has another length");
    }
    chain.push_back(base);
  }
  Bytes base;
  while (!chain.empty()) {
    const auto& [base_digest, base_location] = *chain.back();
    chain.pop_back();
    Bytes bytes(base_location.length);
    RETURN_IF_ERROR(base_location.encoded == 0
                        ? reader.Read(base_digest, base_location, bytes, /*verify=*/true)
                        : Decode(reader, base_digest, base_location, base, bytes));
    base = std::move(bytes);
  }
  return Decode(reader, digest, location, base, out);
}

}  // namespace ckptd
