// What is known to be damaged on disk, and whom that concerns.
//
// A chunk is damaged itself, or as the difference to one that is; either way the
// project is taken to lack it until InsertChunks brings it again. Its space stays
// taken until then, or until nobody refers to it any more. A manifest is damaged
// when it is not the one whose digest its shard has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "daemon/chunks/chunk_store.h"
#include "proto/model.h"

namespace ckptd::catalog {

// The chunk's bytes on disk are not those of its digest. Nobody new refers to
// it, nor to the differences to it.
absl::Status MarkChunkDamaged(WriteTxn& txn, int64_t project_id, const ckpt::Digest& digest);
// Its own record is right, or lies elsewhere now: the chunk is as good as its
// base, and the differences to it as good as they are themselves.
absl::Status MarkChunkWhole(WriteTxn& txn, int64_t chunk_row);
// The same of a chunk, and of all its bases.
absl::Status MarkChainWhole(WriteTxn& txn, int64_t project_id, const ckpt::Digest& digest);
// How many chunks of the project are damaged: mostly none.
absl::StatusOr<uint64_t> CountDamagedChunksOf(ReadTxn& txn, int64_t project_id);
// How many are, of all projects.
absl::StatusOr<uint64_t> CountDamagedChunks(ReadTxn& txn);
// Those that the checkpoint refers to, in all its shards; at most `limit`, all
// where that is negative.
absl::StatusOr<std::vector<StoredChunk>> ListDamagedChunks(ReadTxn& txn, uint64_t checkpoint_id,
                                                           int64_t limit = -1);
// Committed checkpoints that refer to the chunk or to a difference to it, and
// are not removed for good; ascending.
absl::StatusOr<std::vector<uint64_t>> ListUsers(ReadTxn& txn, int64_t project_id,
                                                const ckpt::Digest& digest);
// Takes from an unfinished shard its references to damaged chunks, so that its
// client sends these again. How many there were.
absl::StatusOr<int64_t> DropDamagedReferences(WriteTxn& txn, int64_t project_id, int64_t shard_row);

absl::Status MarkManifest(WriteTxn& txn, uint64_t checkpoint_id, uint32_t rank, bool damaged);
// The first rank of the checkpoint whose manifest is, read and compared now.
absl::StatusOr<std::optional<uint32_t>> FindDamagedManifest(ReadTxn& txn, uint64_t checkpoint_id);
// Where the manifest is that of a shard that has lost its own, the shard has it
// again. Whether there was one.
absl::StatusOr<bool> HealManifests(WriteTxn& txn, const ckpt::Manifest& manifest);
absl::Status MarkManifestsWhole(WriteTxn& txn, uint64_t checkpoint_id);

// Flags the checkpoint for what lies on disk; its damage ends with that.
absl::Status SetDamageOnDisk(WriteTxn& txn, uint64_t checkpoint_id, const std::string& damage);
// Committed checkpoints flagged so of which nothing on disk is damaged any more.
absl::StatusOr<std::vector<uint64_t>> ListHealed(ReadTxn& txn);
// Whether of all that the checkpoint needs something is damaged on disk.
absl::StatusOr<bool> IsDamagedOnDisk(ReadTxn& txn, uint64_t checkpoint_id);
// Flagged for whatever reason, not removed; of a run, of a project, or of all.
absl::StatusOr<uint64_t> CountDamaged(ReadTxn& txn, std::optional<int64_t> project_id,
                                      std::optional<int64_t> run_id);

}  // namespace ckptd::catalog
