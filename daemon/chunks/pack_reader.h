// Reads chunks through the page cache, so that many workers that fetch the
// same checkpoint cost one read from disk. Internal to daemon/chunks.
#pragma once

#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include <absl/synchronization/mutex.h>

#include "daemon/chunks/chunk_store.h"
#include "daemon/chunks/pack_directory.h"
#include "daemon/os/file_system.h"

namespace ckptd {

// Thread-safe. Keeps the packs read last open, at most `max_open` of them and
// those in use.
class PackReader {
 public:
  PackReader(PackDirectory* packs, size_t max_open) : packs_(packs), max_open_(max_open) {}

  // As ChunkStore::Read, View and Prefetch, of chunks that are not encoded.
  absl::Status Read(const ckpt::Digest& digest, const ChunkLocation& location,
                    std::span<std::byte> out, bool verify);
  absl::StatusOr<std::unique_ptr<os::SharedBytes>> View(const ckpt::Digest& digest,
                                                        const ChunkLocation& location);
  void Prefetch(std::span<const ChunkLocation> locations);

  // The payload of an encoded chunk's record, of whose bytes the header's digest
  // is true. What it holds is for the caller to check.
  absl::StatusOr<std::vector<std::byte>> ReadEncoded(const ckpt::Digest& digest,
                                                     const ChunkLocation& location);

  // Closes a pack that is about to go, lest its space stays taken.
  void Forget(PackId id) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using OpenPack = std::pair<PackId, std::shared_ptr<os::File>>;

  absl::StatusOr<std::shared_ptr<os::File>> Open(PackId id) ABSL_LOCKS_EXCLUDED(mutex_);
  // The pack that has this record, of which the header was compared.
  absl::StatusOr<std::shared_ptr<os::File>> OpenRecord(const ckpt::Digest& digest,
                                                       const ChunkLocation& location);

  PackDirectory* const packs_;
  const size_t max_open_;

  absl::Mutex mutex_;
  std::list<OpenPack> recent_ ABSL_GUARDED_BY(mutex_);  // newest use first
  std::unordered_map<PackId, std::list<OpenPack>::iterator> open_ ABSL_GUARDED_BY(mutex_);
  uint64_t forgotten_ ABSL_GUARDED_BY(mutex_) = 0;  // how often Forget was called
};

}  // namespace ckptd
