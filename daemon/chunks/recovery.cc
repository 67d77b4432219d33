#include "daemon/chunks/recovery.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/chunks/layout.h"

namespace ckptd {
namespace {

using Block = std::array<std::byte, os::kBlockBytes>;

// Whether the header block is there and whole; an error where the pack is not
// ours to touch.
absl::StatusOr<bool> CheckPackHeader(os::File& file, PackId id) {
  Block block{};
  ASSIGN_OR_RETURN(const size_t bytes, file.Read(0, block));
  if (bytes < block.size()) return false;
  const std::optional<PackHeader> header = DecodePackHeader(block);
  if (!header.has_value()) return false;
  if (header->version > kPackVersion) {
    return ckpt::MakeError(
        absl::StatusCode::kFailedPrecondition, ckpt::reason::kVersionTooNew,
        fmt::format("{} was written by a newer ckptd (pack version {}, this one knows up to {}): "
                    "start that version",
                    file.path(), header->version, kPackVersion));
  }
  if (header->id != id) {
    return ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kChunkDamaged,
                           fmt::format("{} holds pack {:016x}: give the file its right name",
                                       file.path(), header->id));
  }
  return true;
}

class Scan {
 public:
  Scan(os::File& file, PackId id, uint64_t file_size)
      : file_(file), id_(id), file_size_(file_size) {}

  absl::StatusOr<RecoveredPack> Run() {
    Block block;
    uint64_t offset = kPackHeaderBytes;
    pack_.size = kPackHeaderBytes;
    while (offset + block.size() <= file_size_) {
      ASSIGN_OR_RETURN(const size_t bytes, file_.Read(offset, block));
      if (bytes < block.size()) break;
      if (std::ranges::all_of(block, [](std::byte b) { return b == std::byte{0}; })) {
        offset += block.size();
        continue;
      }
      ASSIGN_OR_RETURN(const uint64_t extent, Take(block, offset));
      if (extent == 0) break;
      offset += extent;
      pack_.size = offset;
    }
    return std::move(pack_);
  }

 private:
  // The record at `offset` into pack_; its extent, or 0 where it is not whole.
  absl::StatusOr<uint64_t> Take(const Block& block, uint64_t offset) {
    const std::optional<RecordHeader> header =
        DecodeRecordHeader(std::span(block).first<kRecordHeaderBytes>());
    if (!header.has_value() || header->pack != id_ || header->offset != offset) return 0;
    const uint64_t extent = RecordExtent(header->length);
    if (offset + extent > file_size_) return 0;
    payload_.resize(header->length);
    ASSIGN_OR_RETURN(const size_t bytes, file_.Read(offset + kRecordHeaderBytes, payload_));
    if (bytes < payload_.size()) return 0;
    if (ckpt::HashBytes(payload_.data(), payload_.size()) != header->digest) return 0;
    if (header->type == RecordType::kNote) {
      pack_.notes.emplace_back(reinterpret_cast<const char*>(payload_.data()), payload_.size());
    } else if (header->type == RecordType::kChunk) {
      pack_.chunks.push_back(
          {header->digest,
           {.pack = id_, .offset = offset, .extent = extent, .length = header->length}});
    }
    return extent;
  }

  os::File& file_;
  const PackId id_;
  const uint64_t file_size_;
  std::vector<std::byte> payload_;
  RecoveredPack pack_;
};

}  // namespace

absl::StatusOr<RecoveredPack> RecoverPack(PackDirectory* packs, PackId id) {
  ASSIGN_OR_RETURN(const std::unique_ptr<os::File> file, packs->OpenForUpdate(id));
  // What is read has to be what the disk holds: pages that an earlier process
  // failed to sync look clean and would be believed.
  RETURN_IF_ERROR(file->SyncData());
  file->DropCache();

  ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  ASSIGN_OR_RETURN(const bool has_header, CheckPackHeader(*file, id));
  ASSIGN_OR_RETURN(RecoveredPack pack, Scan(*file, id, size).Run());
  pack.cut_bytes = size > pack.size ? size - pack.size : 0;
  if (pack.cut_bytes > 0) RETURN_IF_ERROR(file->Truncate(pack.size));
  if (!has_header) {
    Block block;
    EncodePackHeader(id, block);
    RETURN_IF_ERROR(file->Write(0, block));
  }
  RETURN_IF_ERROR(file->SyncData());
  RETURN_IF_ERROR(packs->SyncNames(id));
  packs->Measure(id, *file);
  spdlog::info("recovered pack {:016x}: {} chunks, {} notes, {} bytes, {} bytes cut", id,
               pack.chunks.size(), pack.notes.size(), pack.size, pack.cut_bytes);
  return pack;
}

}  // namespace ckptd
