#include "daemon/catalog/chunks.h"

#include <string>

#include "daemon/catalog/release.h"
#include "daemon/catalog/sqlite.h"

namespace ckptd::catalog {

namespace {

constexpr char kFindChunk[] = R"sql(
SELECT row, pack, pack_offset, extent, length, damaged FROM chunks WHERE project_id = ?1 AND digest = ?2
)sql";

constexpr char kRefer[] =
    "INSERT INTO shard_chunks (shard_row, chunk_row) VALUES (?1, ?2) ON CONFLICT DO NOTHING";

ChunkLocation ReadLocation(const Statement& row, int column) {
  return {row.Uint(column), row.Uint(column + 1), row.Uint(column + 2), row.Uint32(column + 3)};
}

absl::StatusOr<std::unordered_map<ckpt::Digest, ChunkLocation>> ReadLocations(Statement rows) {
  std::unordered_map<ckpt::Digest, ChunkLocation> chunks;
  while (rows.Next()) chunks.emplace(rows.DigestAt(0), ReadLocation(rows, 1));
  RETURN_IF_ERROR(rows.status());
  return chunks;
}

}  // namespace

absl::StatusOr<std::unordered_map<ckpt::Digest, ChunkLocation>> FindChunks(
    ReadTxn& txn, int64_t project_id, const std::vector<ckpt::Digest>& digests) {
  std::unordered_map<ckpt::Digest, ChunkLocation> found;
  ASSIGN_OR_RETURN(Statement find, txn.connection().Query(kFindChunk));
  for (const ckpt::Digest& digest : digests) {
    if (find.Rebind(project_id, digest).Next()) found.emplace(digest, ReadLocation(find, 1));
    RETURN_IF_ERROR(find.status());
  }
  return found;
}

absl::StatusOr<std::vector<ckpt::Digest>> ReferToPresent(WriteTxn& txn, int64_t project_id,
                                                         int64_t shard_row,
                                                         const std::vector<ckpt::Digest>& digests) {
  std::vector<ckpt::Digest> present;
  ASSIGN_OR_RETURN(Statement find, txn.connection().Query(kFindChunk));
  ASSIGN_OR_RETURN(Statement refer, txn.connection().Query(kRefer));
  for (const ckpt::Digest& digest : digests) {
    if (find.Rebind(project_id, digest).Next() && !find.Bool(5)) {
      RETURN_IF_ERROR(refer.Rebind(shard_row, find.Int(0)).Run());
      present.push_back(digest);
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
      UPDATE chunks SET pack = ?2, pack_offset = ?3, extent = ?4, damaged = 0 WHERE row = ?1)sql"));
  ASSIGN_OR_RETURN(Statement refer, db.Query(kRefer));

  uint64_t added = 0, added_bytes = 0;
  for (const auto& [digest, location] : chunks) {
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
      const ChunkLocation before = ReadLocation(find, 1);
      const bool heals = find.Bool(5);
      if (heals) {
        RETURN_IF_ERROR(
            replace.Rebind(chunk_row, location.pack, location.offset, location.extent).Run());
      }
      // The very same copy, recorded again, is no duplicate.
      if (before != location) {
        const ChunkLocation& dead = heals ? before : location;
        RETURN_IF_ERROR(
            queue.Rebind(project_id, dead.pack, dead.offset, dead.extent, dead.length).Run());
      }
    }
    RETURN_IF_ERROR(refer.Rebind(shard_row, chunk_row).Run());
  }
  RETURN_IF_ERROR(db.Run(
      "UPDATE projects SET chunks = chunks + ?2, stored_bytes = stored_bytes + ?3 WHERE id = ?1",
      project_id, added, added_bytes));
  return db.Run("UPDATE shards SET stored_bytes = stored_bytes + ?2 WHERE row = ?1", shard_row,
                added_bytes);
}

absl::Status MarkChunkDamaged(WriteTxn& txn, int64_t project_id, const ckpt::Digest& digest) {
  return txn.connection().Run(
      "UPDATE chunks SET damaged = 1 WHERE project_id = ?1 AND digest = ?2", project_id, digest);
}

absl::StatusOr<std::vector<uint64_t>> ListUsers(ReadTxn& txn, int64_t project_id,
                                                const ckpt::Digest& digest) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT DISTINCT c.id
      FROM chunks AS k JOIN shard_chunks AS x ON x.chunk_row = k.row
      JOIN shards AS s ON s.row = x.shard_row JOIN checkpoints AS c ON c.row = s.checkpoint_row
      WHERE k.project_id = ?1 AND k.digest = ?2 AND c.id IS NOT NULL AND c.removed_at IS NULL
      ORDER BY c.id)sql",
                                                          project_id, digest));
  std::vector<uint64_t> ids;
  while (rows.Next()) ids.push_back(rows.Uint(0));
  RETURN_IF_ERROR(rows.status());
  return ids;
}

absl::StatusOr<std::unordered_map<ckpt::Digest, ChunkLocation>> ShardChunks(ReadTxn& txn,
                                                                            int64_t shard_row) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT c.digest, c.pack, c.pack_offset, c.extent, c.length
      FROM shard_chunks AS s JOIN chunks AS c ON c.row = s.chunk_row
      WHERE s.shard_row = ?1)sql",
                                                          shard_row));
  return ReadLocations(std::move(rows));
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

absl::Status ReleaseShard(WriteTxn& txn, int64_t project_id, int64_t shard_row) {
  Connection& db = txn.connection();
  RETURN_IF_ERROR(db.Run("DELETE FROM temp.released"));
  RETURN_IF_ERROR(
      db.Run("INSERT INTO temp.released SELECT chunk_row FROM shard_chunks WHERE shard_row = ?1",
             shard_row));
  RETURN_IF_ERROR(db.Run("DELETE FROM shard_chunks WHERE shard_row = ?1", shard_row));
  RETURN_IF_ERROR(db.Run(R"sql(
      DELETE FROM temp.released WHERE EXISTS (
        SELECT 1 FROM shard_chunks AS s WHERE s.chunk_row = released.chunk_row))sql"));
  RETURN_IF_ERROR(db.Run(R"sql(
      INSERT INTO reclaims (project_id, pack, pack_offset, extent, length)
      SELECT c.project_id, c.pack, c.pack_offset, c.extent, c.length
      FROM temp.released AS r CROSS JOIN chunks AS c ON c.row = r.chunk_row)sql"));
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE projects SET (chunks, stored_bytes) = (
        SELECT projects.chunks - COUNT(*), projects.stored_bytes - COALESCE(SUM(c.extent), 0)
        FROM temp.released AS r CROSS JOIN chunks AS c ON c.row = r.chunk_row)
      WHERE id = ?1)sql",
                         project_id));
  return db.Run("DELETE FROM chunks WHERE row IN (SELECT chunk_row FROM temp.released)");
}

absl::Status ReleaseCheckpoint(WriteTxn& txn, uint64_t checkpoint_id) {
  Connection& db = txn.connection();
  // Asked here, in the transaction that takes the chunks away.
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE checkpoints SET reclaimed = 1, reclaim_at = NULL
      WHERE id = ?1 AND removed_at IS NOT NULL AND reclaimed = 0)sql",
                         checkpoint_id));
  if (db.changes() == 0) {
    return ckpt::MakeError(
        absl::StatusCode::kFailedPrecondition, ckpt::reason::kInternal,
        fmt::format("Checkpoint {} is not removed, or its space was given back already.",
                    checkpoint_id));
  }
  ASSIGN_OR_RETURN(Statement shards, db.Query(R"sql(
      SELECT s.row, r.project_id
      FROM checkpoints AS c JOIN shards AS s ON s.checkpoint_row = c.row
      JOIN runs AS r ON r.id = c.run_id
      WHERE c.id = ?1)sql",
                                              checkpoint_id));
  while (shards.Next()) {
    RETURN_IF_ERROR(ReleaseShard(txn, shards.Int(1), shards.Int(0)));
    RETURN_IF_ERROR(db.Run("DELETE FROM manifests WHERE shard_row = ?1", shards.Int(0)));
  }
  return shards.status();
}

}  // namespace ckptd::catalog
