// What no shard refers to any more: on its way back to the file system.
#include "daemon/catalog/release.h"

#include "daemon/catalog/chunks.h"
#include "daemon/catalog/sqlite.h"

namespace ckptd::catalog {

absl::Status ReleaseUnused(WriteTxn& txn, int64_t project_id) {
  Connection& db = txn.connection();
  RETURN_IF_ERROR(db.Run(R"sql(
      DELETE FROM temp.released WHERE EXISTS (
        SELECT 1 FROM shard_chunks AS s WHERE s.chunk_row = released.chunk_row))sql"));
  // Differences to what only they keep from going had better be encoded anew.
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE checkpoints SET packed = 0 WHERE row IN (
        SELECT s.checkpoint_row
        FROM temp.released AS r CROSS JOIN chunks AS d ON d.base = r.chunk_row
        JOIN shard_chunks AS x ON x.chunk_row = d.row
        JOIN shards AS s ON s.row = x.shard_row))sql"));
  do {  // a base lives as long as a difference to it, and so that one's base
    RETURN_IF_ERROR(db.Run(R"sql(
        DELETE FROM temp.released WHERE chunk_row IN (
          SELECT d.base FROM temp.released AS r CROSS JOIN chunks AS d ON d.base = r.chunk_row
          WHERE NOT EXISTS (SELECT 1 FROM temp.released AS x WHERE x.chunk_row = d.row)))sql"));
  } while (db.changes() > 0);
  do {  // and goes with the last of them
    RETURN_IF_ERROR(db.Run(R"sql(
        INSERT INTO temp.released
        SELECT DISTINCT c.base FROM temp.released AS r CROSS JOIN chunks AS c ON c.row = r.chunk_row
        WHERE c.base IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM temp.released AS x WHERE x.chunk_row = c.base)
          AND NOT EXISTS (SELECT 1 FROM shard_chunks AS s WHERE s.chunk_row = c.base)
          AND NOT EXISTS (
            SELECT 1 FROM chunks AS d WHERE d.base = c.base
              AND NOT EXISTS (SELECT 1 FROM temp.released AS x WHERE x.chunk_row = d.row)))sql"));
  } while (db.changes() > 0);
  RETURN_IF_ERROR(db.Run(R"sql(
      INSERT INTO reclaims (project_id, pack, pack_offset, extent, length)
      SELECT c.project_id, c.pack, c.pack_offset, c.extent, IIF(c.encoded = 0, c.length, c.encoded)
      FROM temp.released AS r CROSS JOIN chunks AS c ON c.row = r.chunk_row)sql"));
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE projects SET (chunks, stored_bytes) = (
        SELECT projects.chunks - COUNT(*), projects.stored_bytes - COALESCE(SUM(c.extent), 0)
        FROM temp.released AS r CROSS JOIN chunks AS c ON c.row = r.chunk_row)
      WHERE id = ?1)sql",
                         project_id));
  return db.Run("DELETE FROM chunks WHERE row IN (SELECT chunk_row FROM temp.released)");
}

absl::Status ReleaseListed(WriteTxn& txn, int64_t project_id, int64_t shard_row) {
  RETURN_IF_ERROR(txn.connection().Run(R"sql(
      DELETE FROM shard_chunks
      WHERE shard_row = ?1 AND chunk_row IN (SELECT chunk_row FROM temp.released))sql",
                                       shard_row));
  return ReleaseUnused(txn, project_id);
}

namespace {

// Takes at most `limit` (-1: all) of the shard's references away. How many.
absl::StatusOr<int64_t> ReleaseReferences(WriteTxn& txn, int64_t project_id, int64_t shard_row,
                                          int64_t limit) {
  Connection& db = txn.connection();
  RETURN_IF_ERROR(db.Run("DELETE FROM temp.released"));
  RETURN_IF_ERROR(db.Run(R"sql(
      INSERT INTO temp.released
      SELECT chunk_row FROM shard_chunks WHERE shard_row = ?1 LIMIT ?2)sql",
                         shard_row, limit));
  const int64_t released = db.changes();
  if (released > 0) RETURN_IF_ERROR(ReleaseListed(txn, project_id, shard_row));
  return released;
}

}  // namespace

absl::Status ReleaseShard(WriteTxn& txn, int64_t project_id, int64_t shard_row) {
  return ReleaseReferences(txn, project_id, shard_row, -1).status();
}

absl::StatusOr<bool> ReleaseCheckpoint(WriteTxn& txn, uint64_t checkpoint_id, uint32_t limit) {
  Connection& db = txn.connection();
  // Asked here, in the transaction that takes the chunks away.
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE checkpoints SET reclaimed = 1
      WHERE id = ?1 AND removed_at IS NOT NULL AND reclaim_at IS NOT NULL)sql",
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
  int64_t left = limit;
  while (shards.Next()) {
    RETURN_IF_ERROR(db.Run("DELETE FROM manifests WHERE shard_row = ?1", shards.Int(0)));
    ASSIGN_OR_RETURN(const int64_t released,
                     ReleaseReferences(txn, shards.Int(1), shards.Int(0), left));
    left -= released;
    if (left <= 0) return false;
  }
  RETURN_IF_ERROR(shards.status());
  RETURN_IF_ERROR(
      db.Run("UPDATE checkpoints SET reclaim_at = NULL WHERE id = ?1", checkpoint_id));
  return true;
}

}  // namespace ckptd::catalog
