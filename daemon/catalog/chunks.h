// Which chunks a project has, where they lie and which shards refer to them; packs; space on
// its way back to the file system.
//
// Liveness is the existence of a shard_chunks row, or of a chunk whose base it is
// (encoding.h): no counter can drift. A chunk that nobody needs is moved, in the same transaction
// that asks, to `reclaim`; from there its extent is punched and the row deleted.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "daemon/chunks/chunk_store.h"
#include "proto/model.h"

namespace ckptd::catalog {

// Locations of those of `digests` that the project has.
absl::StatusOr<std::unordered_map<ckpt::Digest, ChunkLocation>> FindChunks(
    ReadTxn& txn, int64_t project_id, const std::vector<ckpt::Digest>& digests);

// Lengths of those of `digests` that the project has.
absl::StatusOr<std::unordered_map<ckpt::Digest, uint32_t>> FindLengths(
    ReadTxn& txn, int64_t project_id, const std::vector<ckpt::Digest>& digests);

// The shard refers from now on to those of `digests` that the project has
// whole; returns which, in no order (so they cannot go while the upload runs).
// Idempotent.
absl::StatusOr<std::vector<ckpt::Digest>> ReferToPresent(WriteTxn& txn, int64_t project_id,
                                                         int64_t shard_row,
                                                         const std::vector<ckpt::Digest>& digests);
// Records chunks of a durable pack and the shard's references to them. A
// digest that the project has by now keeps its old location, unless that one
// is damaged; the extent that is not kept goes to `reclaim`. Adds the new extents to the shard's
// stored_bytes.
absl::Status InsertChunks(WriteTxn& txn, int64_t project_id, int64_t shard_row,
                          const std::vector<StoredChunk>& chunks);

// The locations of all chunks of a shard, in the manifest's order of unique
// digests.
absl::StatusOr<std::unordered_map<ckpt::Digest, ChunkLocation>> ShardChunks(ReadTxn& txn,
                                                                            int64_t shard_row);
// Same, by committed checkpoint and rank.
absl::StatusOr<std::unordered_map<ckpt::Digest, ChunkLocation>> CheckpointChunks(
    ReadTxn& txn, uint64_t checkpoint_id, uint32_t rank);

// Takes at most `limit` of a removed checkpoint's references away and queues
// the extents of chunks that nobody refers to any more. Marks it reclaimed: from
// the first call it cannot be restored. Returns whether that were the last;
// otherwise it is to be called again, also after a crash.
absl::StatusOr<bool> ReleaseCheckpoint(WriteTxn& txn, uint64_t checkpoint_id, uint32_t limit);

struct Reclaim {
  int64_t row = 0;
  ChunkLocation location;
  // No live chunk is left in the pack and no upload writes it: unlink it.
  bool pack_empty = false;
};
// At most `limit` extents waiting to be given back.
absl::StatusOr<std::vector<Reclaim>> ListReclaims(ReadTxn& txn, uint32_t limit);
absl::Status DeleteReclaims(WriteTxn& txn, const std::vector<int64_t>& rows);

// Packs that an upload was writing when the daemon died.
struct OpenPack {
  PackId id = 0;
  int64_t shard_row = 0;  // 0: its upload is gone
};
absl::StatusOr<std::vector<OpenPack>> ListOpenPacks(ReadTxn& txn);
// The last number that was given to a pack; 0: none yet.
absl::StatusOr<PackId> NewestPack(ReadTxn& txn);
// Every pack the catalog knows.
absl::StatusOr<std::vector<PackId>> ListPacks(ReadTxn& txn);
// No longer written to.
absl::Status SealPack(WriteTxn& txn, PackId id);
// Whether it is known and SealPack was not called.
absl::StatusOr<bool> IsUnsealed(ReadTxn& txn, PackId id);
// Packs sealed and without live chunks or reclaims: their files can go, then
// their rows by DeletePack.
absl::StatusOr<std::vector<PackId>> ListEmptyPacks(ReadTxn& txn);
absl::Status DeletePack(WriteTxn& txn, PackId id);

struct Figures {
  uint64_t runs = 0, checkpoints = 0, logical_bytes = 0, stored_bytes = 0, chunks = 0,
           reclaimable_bytes = 0, open_uploads = 0;
};
// Of everything, of a project, or of a run, whose reclaimable_bytes are 0:
// extents on their way back are of no run. A run's figures read its references.
absl::StatusOr<Figures> GetFigures(ReadTxn& txn, std::optional<int64_t> project_id,
                                   std::optional<int64_t> run_id);

// Extents that would come back if these checkpoints were released.
absl::StatusOr<uint64_t> FreedBy(ReadTxn& txn, const std::vector<uint64_t>& checkpoint_ids);

// Compares the shards' manifests with shard_chunks and chunks: DATA_LOSS
// naming the first disagreement.
absl::Status CheckReferences(ReadTxn& txn);

}  // namespace ckptd::catalog
