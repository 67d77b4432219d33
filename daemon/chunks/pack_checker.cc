#include "daemon/chunks/pack_checker.h"

#include <algorithm>
#include <memory>
#include <span>

#include <fmt/format.h>

#include "daemon/chunks/codec.h"
#include "daemon/chunks/errors.h"
#include "daemon/chunks/layout.h"
#include "daemon/os/io_memory.h"

namespace ckptd {
namespace {

bool IsZero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

absl::Status PackChecker::Check(const ckpt::Digest& digest, const ChunkLocation& location) {
  const bool is_encoded = location.encoded != 0;
  const uint64_t extent = RecordExtent(location.payload());
  if (location.offset % os::kBlockBytes != 0 || location.extent != extent) {
    return ChunkDamaged(digest, location, "no record can lie there");
  }
  absl::StatusOr<std::unique_ptr<os::File>> file = packs_->OpenDirect(location.pack);
  if (absl::IsNotFound(file.status())) return ChunkDamaged(digest, location, "the pack is gone");
  if (!file.ok()) return file.status();
  const os::IoMemory memory = os::AllocateForIo(extent);
  const std::span<std::byte> record(memory.get(), extent);
  ASSIGN_OR_RETURN(const size_t bytes, (*file)->Read(location.offset, record));

  if (bytes < kRecordHeaderBytes) {
    return ChunkDamaged(digest, location, "the pack ends before it");
  }
  const auto raw = record.first<kRecordHeaderBytes>();
  if (IsZero(raw)) return ChunkDamaged(digest, location, "its space was given back");
  const std::optional<RecordHeader> header = DecodeRecordHeader(raw);
  const RecordHeader expected{.type = is_encoded ? RecordType::kEncoded : RecordType::kChunk,
                              .length = location.payload(),
                              .pack = location.pack,
                              .offset = location.offset,
                              .digest = is_encoded && header ? header->digest : digest};
  if (header != expected) {
    return ChunkDamaged(digest, location, "its record header does not match");
  }
  if (bytes < kRecordHeaderBytes + header->length) {
    return ChunkDamaged(digest, location, "the pack ends within it");
  }
  const auto payload = record.subspan(kRecordHeaderBytes, header->length);
  if (ckpt::HashBytes(payload.data(), payload.size()) != header->digest) {
    return ChunkDamaged(
        digest, location,
        is_encoded ? "its record has another digest" : "its bytes have another digest");
  }
  if (!is_encoded) return absl::OkStatus();
  const std::optional<EncodedHeader> encoded = DecodeHeader(payload);
  if (!encoded || encoded->digest != digest || encoded->length != location.length) {
    return ChunkDamaged(digest, location, "another chunk is encoded there");
  }
  if (encoded->base.has_value() != (location.base != nullptr) ||
      (encoded->base && *encoded->base != location.base->digest)) {
    return ChunkDamaged(digest, location, "it is encoded as the difference to another chunk");
  }
  return absl::OkStatus();
}

absl::Status PackChecker::CheckHeader(PackId id) {
  ASSIGN_OR_RETURN(const std::unique_ptr<os::File> file, packs_->OpenDirect(id));
  const os::IoMemory memory = os::AllocateForIo(kPackHeaderBytes);
  const std::span<std::byte, kPackHeaderBytes> block(memory.get(), kPackHeaderBytes);
  ASSIGN_OR_RETURN(const size_t bytes, file->Read(0, block));
  const std::optional<PackHeader> header =
      bytes == block.size() ? DecodePackHeader(block) : std::nullopt;
  if (header && header->id == id && header->version == kPackVersion) return absl::OkStatus();
  return ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kChunkDamaged,
                         fmt::format("the header of pack {:016x} is damaged", id));
}

}  // namespace ckptd
