// What a scrub reads, in the order in which it does, and how far it is.
//
// The order is that of the packs and of what lies in them, so that a pass is one
// movement over the disk, and its place in it a pair of numbers that no change
// in between makes wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <absl/time/time.h>

#include "daemon/catalog/catalog.h"
#include "daemon/chunks/chunk_store.h"

namespace ckptd::catalog {

// The pass under way or, once that is over, the last one.
struct ScrubRow {
  bool under_way = false;
  bool asked = false;  // by somebody, not by the time
  std::optional<absl::Time> started_at;
  std::optional<absl::Time> ended_at;  // of the last that ended

  // All up to here was read: manifests first, then packs. What came after the
  // pass had begun is the next one's.
  int64_t shard_row = 0, last_shard_row = 0;
  PackId pack = 0;
  uint64_t pack_offset = 0;
  PackId last_pack = 0;

  // Read by it, and found.
  uint64_t bytes = 0, chunks = 0, manifests = 0, packs = 0;
  uint64_t damaged_chunks = 0, damaged_manifests = 0, damaged_packs = 0, unreadable = 0, healed = 0;

  bool operator==(const ScrubRow&) const = default;
};
absl::StatusOr<ScrubRow> GetScrub(ReadTxn& txn);
absl::Status SetScrub(WriteTxn& txn, const ScrubRow& row);
// A pass over all that there is now.
absl::StatusOr<ScrubRow> NewScrub(ReadTxn& txn, absl::Time now);

// Of a chunk's base only the digest is filled in.
struct ScrubChunk {
  int64_t row = 0;
  int64_t project_id = 0;
  StoredChunk chunk;
  bool damaged = false;     // its own record is known to be
  uint32_t unreadable = 0;  // scrubs in a row that could not read it
};
// The next chunks behind that place, in packs up to `last_pack`.
absl::StatusOr<std::vector<ScrubChunk>> ListToScrub(ReadTxn& txn, PackId pack, uint64_t pack_offset,
                                                    PackId last_pack, uint32_t limit);
// Whether the chunk is still there and lies where it did.
absl::StatusOr<bool> IsStillThere(ReadTxn& txn, const ScrubChunk& chunk);
// Whether a chunk lies in the pack.
absl::StatusOr<bool> HoldsChunks(ReadTxn& txn, PackId pack);
absl::Status SetUnreadable(WriteTxn& txn, int64_t chunk_row, uint32_t scrubs);

struct ScrubManifest {
  int64_t shard_row = 0;
  uint64_t checkpoint_id = 0;  // 0: not committed
  uint32_t rank = 0;
  bool damaged = false;  // known to be
  uint64_t bytes = 0;
  absl::Status status;  // of reading it, as GetUploadManifest
};
// The next manifest behind `shard_row`, up to `last_shard_row`.
absl::StatusOr<std::optional<ScrubManifest>> NextManifest(ReadTxn& txn, int64_t shard_row,
                                                          int64_t last_shard_row);

}  // namespace ckptd::catalog
