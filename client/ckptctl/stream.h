// From a shard's chunks to the bytes of its entries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/download.h"
#include "proto/model.h"

namespace ckpt::ctl {

// The next bytes of entry `index` of the manifest, `offset` into it. An
// entry's bytes come in order, entry after entry as they lie in the shard.
using EntrySink =
    std::function<absl::Status(size_t index, uint64_t offset, std::span<const std::byte> bytes)>;

// Cuts chunks into entries.
class EntrySplitter {
 public:
  // `entries`: indices of those wanted, in any order. The manifest outlives this.
  EntrySplitter(const Manifest& manifest, std::vector<size_t> entries);

  // The chunks that hold something wanted, ascending.
  std::vector<uint32_t> Chunks() const;
  absl::Status Chunk(uint32_t chunk, ChunkParts parts, const EntrySink& sink) const;

 private:
  const Manifest& manifest_;
  std::vector<size_t> entries_;  // by offset, none of length 0
  std::vector<uint64_t> chunk_offsets_;
};

// All entries' indices.
std::vector<size_t> AllEntries(const Manifest& manifest);
// Indices of the entries whose name matches one of the shell patterns (* and ?
// also match '/'). NOT_FOUND/ENTRY_NOT_FOUND for a pattern that matches none.
absl::StatusOr<std::vector<size_t>> MatchEntries(const Manifest& manifest,
                                                 const std::vector<std::string>& patterns);

// Fetches `entries` into `sink`, a chunk at a time.
absl::Status StreamEntries(Client& client, uint64_t checkpoint_id, uint32_t rank,
                           const Manifest& manifest, const std::vector<size_t>& entries,
                           const EntrySink& sink, const ProgressFn& progress, Cancel* cancel);

}  // namespace ckpt::ctl
