#include "daemon/catalog/chunks.h"

#include <algorithm>
#include <string>

#include "daemon/catalog/damage.h"
#include "daemon/catalog/location.h"
#include "daemon/catalog/release.h"
#include "daemon/catalog/sqlite.h"

namespace ckptd::catalog {

namespace {

constexpr char kFindChunk[] = R"sql(
SELECT row, pack, pack_offset, extent, length, encoded, base, damaged FROM chunks
WHERE project_id = ?1 AND digest = ?2
)sql";

constexpr char kRefer[] =
    "INSERT INTO shard_chunks (shard_row, chunk_row) VALUES (?1, ?2) ON CONFLICT DO NOTHING";

// The index's next page is likely the one before; in the order of a manifest
// each digest is on another.
std::vector<const ckpt::Digest*> InIndexOrder(const std::vector<ckpt::Digest>& digests) {
  std::vector<const ckpt::Digest*> ordered;
  ordered.reserve(digests.size());
  for (const ckpt::Digest& digest : digests) ordered.push_back(&digest);
  std::ranges::sort(ordered, {}, [](const ckpt::Digest* digest) { return *digest; });
  return ordered;
}

}  // namespace

absl::StatusOr<std::unordered_map<ckpt::Digest, ChunkLocation>> FindChunks(
    ReadTxn& txn, int64_t project_id, const std::vector<ckpt::Digest>& digests) {
  std::unordered_map<ckpt::Digest, ChunkLocation> found;
  BaseCache bases;
  ASSIGN_OR_RETURN(Statement find, txn.connection().Query(kFindChunk));
  for (const ckpt::Digest& digest : digests) {
    if (find.Rebind(project_id, digest).Next()) {
      ASSIGN_OR_RETURN(ChunkLocation location, ReadLocation(txn.connection(), find, 1, bases));
      found.emplace(digest, std::move(location));
    }
    RETURN_IF_ERROR(find.status());
  }
  return found;
}

absl::StatusOr<std::unordered_map<ckpt::Digest, uint32_t>> FindLengths(
    ReadTxn& txn, int64_t project_id, const std::vector<ckpt::Digest>& digests) {
  std::unordered_map<ckpt::Digest, uint32_t> lengths;
  ASSIGN_OR_RETURN(Statement find, txn.connection().Query(kFindChunk));
  for (const ckpt::Digest* digest : InIndexOrder(digests)) {
    if (find.Rebind(project_id, *digest).Next()) lengths.emplace(*digest, find.Uint32(4));
    RETURN_IF_ERROR(find.status());
  }
  return lengths;
}

absl::StatusOr<std::vector<ckpt::Digest>> ReferToPresent(WriteTxn& txn, int64_t project_id,
                                                         int64_t shard_row,
                                                         const std::vector<ckpt::Digest>& digests) {
  std::vector<ckpt::Digest> present;
  ASSIGN_OR_RETURN(Statement find, txn.connection().Query(kFindChunk));
  ASSIGN_OR_RETURN(Statement refer, txn.connection().Query(kRefer));
  for (const ckpt::Digest* digest : InIndexOrder(digests)) {
    if (find.Rebind(project_id, *digest).Next() && !find.Bool(7)) {
      RETURN_IF_ERROR(refer.Rebind(shard_row, find.Int(0)).Run());
      present.push_back(*digest);
    }
    RETURN_IF_ERROR(find.status());
  }
  return present;
}

absl::Status InsertChunks(WriteTxn& txn, int64_t project_id, int64_t shard_row,
                          const std::vector<StoredChunk>& chunks) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(Statement insert, db.Query(R"sql(
      INSERT INTO chunks (project_id, digest, pack, pack_offset, extent, length)
      VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING)sql"));
  ASSIGN_OR_RETURN(Statement find, db.Query(kFindChunk));
  ASSIGN_OR_RETURN(Statement queue, db.Query(R"sql(
      INSERT INTO reclaims (project_id, pack, pack_offset, extent, length)
      VALUES (?1, ?2, ?3, ?4, ?5))sql"));
  ASSIGN_OR_RETURN(Statement replace, db.Query(R"sql(
      UPDATE chunks SET pack = ?2, pack_offset = ?3, extent = ?4, encoded = 0, base = NULL,
        tried = 0, unreadable = 0
      WHERE row = ?1)sql"));
  ASSIGN_OR_RETURN(Statement refer, db.Query(kRefer));

  std::vector<const StoredChunk*> ordered;
  for (const StoredChunk& chunk : chunks) ordered.push_back(&chunk);
  std::ranges::stable_sort(ordered, {}, &StoredChunk::digest);
  BaseCache bases;
  std::vector<int64_t> left;  // bases of what lies as it came again
  uint64_t added = 0, added_bytes = 0;
  for (const StoredChunk* chunk : ordered) {
    const auto& [digest, location] = *chunk;
    RETURN_IF_ERROR(insert
                        .Rebind(project_id, digest, location.pack, location.offset, location.extent,
                                location.length)
                        .Run());
    int64_t chunk_row = db.last_insert_row();
    if (db.changes() == 1) {
      ++added;
      added_bytes += location.extent;
    } else {
      if (!find.Rebind(project_id, digest).Next()) {
        RETURN_IF_ERROR(find.status());
        return ckpt::MakeError(absl::StatusCode::kInternal, ckpt::reason::kInternal,
                               fmt::format("Chunk {} was neither added nor found.", digest.Hex()));
      }
      chunk_row = find.Int(0);
      ASSIGN_OR_RETURN(const ChunkLocation before, ReadLocation(db, find, 1, bases));
      const bool heals = find.Bool(7);
      if (heals) {
        if (!find.IsNull(6)) left.push_back(find.Int(6));
        RETURN_IF_ERROR(
            replace.Rebind(chunk_row, location.pack, location.offset, location.extent).Run());
        RETURN_IF_ERROR(MarkChunkWhole(txn, chunk_row));
        RETURN_IF_ERROR(
            db.Run("UPDATE projects SET stored_bytes = stored_bytes + ?2 WHERE id = ?1", project_id,
                   static_cast<int64_t>(location.extent) - static_cast<int64_t>(before.extent)));
      }
      // The very same copy, recorded again, is no duplicate.
      if (before != location) {
        const ChunkLocation& dead = heals ? before : location;
        RETURN_IF_ERROR(
            queue.Rebind(project_id, dead.pack, dead.offset, dead.extent, dead.payload()).Run());
      }
    }
    RETURN_IF_ERROR(refer.Rebind(shard_row, chunk_row).Run());
  }
  RETURN_IF_ERROR(db.Run(
      "UPDATE projects SET chunks = chunks + ?2, stored_bytes = stored_bytes + ?3 WHERE id = ?1",
      project_id, added, added_bytes));
  RETURN_IF_ERROR(db.Run("UPDATE shards SET stored_bytes = stored_bytes + ?2 WHERE row = ?1",
                         shard_row, added_bytes));
  if (left.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(db.Run("DELETE FROM temp.released"));
  for (const int64_t row : left) {
    RETURN_IF_ERROR(
        db.Run("INSERT INTO temp.released VALUES (?1) ON CONFLICT DO NOTHING", row));
  }
  return ReleaseUnused(txn, project_id);
}

absl::StatusOr<std::unordered_map<ckpt::Digest, ChunkLocation>> ShardChunks(ReadTxn& txn,
                                                                            int64_t shard_row) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT c.digest, c.pack, c.pack_offset, c.extent, c.length, c.encoded, c.base
      FROM shard_chunks AS s JOIN chunks AS c ON c.row = s.chunk_row
      WHERE s.shard_row = ?1)sql",
                                                          shard_row));
  BaseCache bases;
  std::unordered_map<ckpt::Digest, ChunkLocation> chunks;
  while (rows.Next()) {
    ASSIGN_OR_RETURN(ChunkLocation location, ReadLocation(txn.connection(), rows, 1, bases));
    chunks.emplace(rows.DigestAt(0), std::move(location));
  }
  RETURN_IF_ERROR(rows.status());
  return chunks;
}

absl::StatusOr<std::unordered_map<ckpt::Digest, ChunkLocation>> CheckpointChunks(
    ReadTxn& txn, uint64_t checkpoint_id, uint32_t rank) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> shard_row,
                   txn.connection().Integer(R"sql(
      SELECT s.row FROM checkpoints AS c JOIN shards AS s ON s.checkpoint_row = c.row
      WHERE c.id = ?1 AND s.rank = ?2)sql",
                                            checkpoint_id, rank));
  if (!shard_row) return std::unordered_map<ckpt::Digest, ChunkLocation>();
  return ShardChunks(txn, *shard_row);
}

}  // namespace ckptd::catalog
