// Bytes at rest: which chunks could lie on disk in fewer bytes (chunks/codec.h),
// which of them are differences to which others, and moving one to its encoded
// copy.
//
// A base lives as long as a difference to it, although no shard may refer to
// it: the `base` of a chunks row is asked, as shard_chunks is, in the same
// transaction that takes chunks away.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "daemon/chunks/chunk_store.h"
#include "proto/model.h"

namespace ckptd::catalog {

// A chain of differences has at most so many links: reading its end decodes
// all of them. A longer one gains little: every ninth chunk without a base
// costs a point of the total.
inline constexpr int kMaxBases = 8;

struct ChunkRow {
  int64_t row = 0;  // may come again once the chunk is gone
  StoredChunk chunk;
  bool tried = false;  // encoding it did not pay
};

// The run's checkpoints, newest first, whose chunks were not all looked at
// since they came, or since something changed for them. Removed ones are not
// among them.
absl::StatusOr<std::vector<uint64_t>> ListUnpacked(ReadTxn& txn, int64_t run_id);
// Nothing is left to do for the checkpoint; without effect where there is again.
absl::Status MarkPacked(WriteTxn& txn, uint64_t checkpoint_id);

// Chunks of the shard to encode: never tried, or differences to what nobody
// else needs. Damaged ones are not among them.
absl::StatusOr<std::vector<ChunkRow>> ListToEncode(ReadTxn& txn, uint64_t checkpoint_id,
                                                   uint32_t rank);
// A chunk that is not damaged.
absl::StatusOr<std::optional<ChunkRow>> FindChunkRow(ReadTxn& txn, int64_t project_id,
                                                     const ckpt::Digest& digest);
// Whether every shard that refers to the chunk is of one of these checkpoints,
// none of which has a pin or an alias.
absl::StatusOr<bool> IsUsedOnlyBy(ReadTxn& txn, int64_t chunk_row,
                                  const std::set<uint64_t>& checkpoint_ids);
// Whether the chunk can be the difference to this base: no circle, and no
// chain longer than kMaxBases.
absl::StatusOr<bool> MayBeBase(ReadTxn& txn, int64_t chunk_row, int64_t base_row);

// The chunk lies at `to` from now on, encoded, as a difference to `base` where
// there is one; what it leaves goes to `reclaims`, and a base that only it
// needed. Where the chunk or the base is not there any more as it was, or others
// than these checkpoints use the chunk by now, `to` goes to `reclaims` instead.
// Returns whether it was moved.
absl::StatusOr<bool> MoveChunk(WriteTxn& txn, int64_t project_id, const ChunkRow& chunk,
                               const ChunkLocation& to, const std::optional<ChunkRow>& base,
                               const std::set<uint64_t>& checkpoint_ids);
// Encoding it does not pay.
absl::Status MarkTried(WriteTxn& txn, const ChunkRow& chunk);

}  // namespace ckptd::catalog
