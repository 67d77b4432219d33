// A shard of a committed checkpoint, open for reading.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

#include "daemon/store/store.h"

namespace ckptd {

// From Store::OpenReader, which it must not outlive; leased as long as this lives.
// Thread-safe.
class Store::Reader {
 public:
  Reader(Store* store, uint64_t checkpoint_id, uint32_t rank, ckpt::Manifest manifest,
         std::unordered_map<ckpt::Digest, ChunkLocation> locations, Lease lease)
      : store_(store),
        checkpoint_id_(checkpoint_id),
        rank_(rank),
        manifest_(std::move(manifest)),
        locations_(std::move(locations)),
        lease_(std::move(lease)) {}

  const ckpt::Manifest& manifest() const { return manifest_; }
  // Chunk `index` of the manifest; it may outlive the reader. DATA_LOSS marks the
  // checkpoint damaged. Without `compare` there is no copy where that can be
  // (ChunkStore::View), and what is read may be anything, for the caller to compare:
  // a chunk that was moved meanwhile, too.
  absl::StatusOr<std::unique_ptr<os::SharedBytes>> Read(uint32_t index, bool compare = true);
  // Says that these chunks will be read soon.
  void Prefetch(std::span<const uint32_t> indices);
  // As Read, of what the disk holds, past all caches.
  absl::Status Check(uint32_t index);

 private:
  // `read(chunk)`, again where the chunk has moved meanwhile; marks damage.
  template <typename F>
  absl::Status ReadWith(uint32_t index, F read);
  // In memory that nobody else changes: what was compared is what is sent.
  absl::StatusOr<std::unique_ptr<os::SharedBytes>> ReadCompared(const StoredChunk& chunk);
  // Chunks move while they are read: to where they lie encoded. Looks again
  // where this one lies; false where it, and its bases, are where it says.
  absl::StatusOr<bool> FindMoved(StoredChunk& chunk);
  // Of a chunk that cannot be read and its bases, the one at fault.
  StoredChunk FindCulprit(const StoredChunk& chunk);
  // The chunk is not what its digest says: flags all who refer to it.
  absl::Status MarkDamaged(const StoredChunk& chunk, const std::string& text);

  Store* const store_;
  const uint64_t checkpoint_id_;
  const uint32_t rank_;
  const ckpt::Manifest manifest_;
  const std::unordered_map<ckpt::Digest, ChunkLocation> locations_;
  const Lease lease_;
};

}  // namespace ckptd
