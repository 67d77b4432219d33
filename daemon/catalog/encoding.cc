#include "daemon/catalog/encoding.h"

#include <algorithm>

#include "daemon/catalog/location.h"
#include "daemon/catalog/release.h"
#include "daemon/catalog/sqlite.h"

namespace ckptd::catalog {

namespace {

absl::Status Queue(Connection& db, int64_t project_id, const ChunkLocation& dead) {
  return db.Run(R"sql(
      INSERT INTO reclaims (project_id, pack, pack_offset, extent, length)
      VALUES (?1, ?2, ?3, ?4, ?5))sql",
                project_id, dead.pack, dead.offset, dead.extent, dead.payload());
}

// Whether the row is still this chunk, whole and where it was.
absl::StatusOr<bool> IsThere(Connection& db, const ChunkRow& chunk) {
  const ChunkLocation& at = chunk.chunk.location;
  ASSIGN_OR_RETURN(const std::optional<int64_t> found,
                   db.Integer(R"sql(
      SELECT 1 FROM chunks
      WHERE row = ?1 AND digest = ?2 AND pack = ?3 AND pack_offset = ?4 AND damaged = 0)sql",
                              chunk.row, chunk.chunk.digest, at.pack, at.offset));
  return found.has_value();
}

// Still this chunk and whole; it may have moved.
absl::StatusOr<bool> IsWhole(Connection& db, const ChunkRow& chunk) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> found,
                   db.Integer("SELECT 1 FROM chunks WHERE row = ?1 AND digest = ?2 AND damaged = 0",
                              chunk.row, chunk.chunk.digest));
  return found.has_value();
}

}  // namespace

absl::StatusOr<std::vector<uint64_t>> ListUnpacked(ReadTxn& txn, int64_t run_id) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT c.id FROM checkpoints AS c
      WHERE c.run_id = ?1 AND c.packed = 0 AND c.id IS NOT NULL AND c.removed_at IS NULL
      ORDER BY c.id DESC)sql",
                                                          run_id));
  std::vector<uint64_t> ids;
  while (rows.Next()) ids.push_back(rows.Uint(0));
  RETURN_IF_ERROR(rows.status());
  return ids;
}

absl::Status MarkPacked(WriteTxn& txn, uint64_t checkpoint_id) {
  return txn.connection().Run(R"sql(
      UPDATE checkpoints SET packed = 1
      WHERE id = ?1 AND NOT EXISTS (
        SELECT 1 FROM shards AS s JOIN shard_chunks AS x ON x.shard_row = s.row
        JOIN chunks AS k ON k.row = x.chunk_row
        WHERE s.checkpoint_row = checkpoints.row AND k.base IS NOT NULL
          AND NOT EXISTS (SELECT 1 FROM shard_chunks AS b WHERE b.chunk_row = k.base)))sql",
                              checkpoint_id);
}

absl::StatusOr<std::vector<ChunkRow>> ListToEncode(ReadTxn& txn, uint64_t checkpoint_id,
                                                   uint32_t rank) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(Statement rows, db.Query(R"sql(
      SELECT k.row, k.digest, k.pack, k.pack_offset, k.extent, k.length, k.encoded, k.base, k.tried
      FROM checkpoints AS c JOIN shards AS s ON s.checkpoint_row = c.row
      JOIN shard_chunks AS x ON x.shard_row = s.row JOIN chunks AS k ON k.row = x.chunk_row
      WHERE c.id = ?1 AND s.rank = ?2 AND k.damaged = 0
        AND ((k.encoded = 0 AND k.tried = 0)
          OR (k.base IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM shard_chunks AS b WHERE b.chunk_row = k.base)))
      ORDER BY k.pack, k.pack_offset)sql",
                                            checkpoint_id, rank));
  BaseCache bases;
  std::vector<ChunkRow> chunks;
  while (rows.Next()) {
    ChunkRow chunk{.row = rows.Int(0), .chunk = {.digest = rows.DigestAt(1)}};
    ASSIGN_OR_RETURN(chunk.chunk.location, ReadLocation(db, rows, 2, bases));
    chunk.tried = rows.Bool(8);
    chunks.push_back(std::move(chunk));
  }
  RETURN_IF_ERROR(rows.status());
  return chunks;
}

absl::StatusOr<std::optional<ChunkRow>> FindChunkRow(ReadTxn& txn, int64_t project_id,
                                                     const ckpt::Digest& digest) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(Statement rows, db.Query(R"sql(
      SELECT row, pack, pack_offset, extent, length, encoded, base, tried FROM chunks
      WHERE project_id = ?1 AND digest = ?2 AND damaged = 0)sql",
                                            project_id, digest));
  if (!rows.Next()) {
    RETURN_IF_ERROR(rows.status());
    return std::nullopt;
  }
  ChunkRow chunk{.row = rows.Int(0), .chunk = {.digest = digest}};
  BaseCache bases;
  ASSIGN_OR_RETURN(chunk.chunk.location, ReadLocation(db, rows, 1, bases));
  chunk.tried = rows.Bool(7);
  return chunk;
}

absl::StatusOr<bool> IsUsedOnlyBy(ReadTxn& txn, int64_t chunk_row,
                                  const std::set<uint64_t>& checkpoint_ids) {
  // An upload that is not committed has no id: 0 is in no set.
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT c.id,
        EXISTS (SELECT 1 FROM pins AS n WHERE n.checkpoint_row = c.row)
          OR EXISTS (SELECT 1 FROM aliases AS a WHERE a.checkpoint_row = c.row)
      FROM shard_chunks AS x JOIN shards AS s ON s.row = x.shard_row
      JOIN checkpoints AS c ON c.row = s.checkpoint_row
      WHERE x.chunk_row = ?1 AND c.removed_at IS NULL)sql",
                                                          chunk_row));
  bool only = true;
  while (only && rows.Next()) only = checkpoint_ids.contains(rows.Uint(0)) && !rows.Bool(1);
  RETURN_IF_ERROR(rows.status());
  return only;
}

absl::StatusOr<bool> MayBeBase(ReadTxn& txn, int64_t chunk_row, int64_t base_row) {
  Connection& db = txn.connection();
  // One link more than can be, so that what is wrong ends.
  ASSIGN_OR_RETURN(Statement above, db.Query(R"sql(
      WITH RECURSIVE r (row, links) AS (
        VALUES (?1, 0)
        UNION ALL
        SELECT c.base, links + 1 FROM r CROSS JOIN chunks AS c ON c.row = r.row
        WHERE c.base IS NOT NULL AND links <= ?2)
      SELECT row, links FROM r)sql",
                                             base_row, kMaxBases));
  int64_t links = 0;
  while (above.Next()) {
    if (above.Int(0) == chunk_row) return false;
    links = std::max(links, above.Int(1));
  }
  RETURN_IF_ERROR(above.status());
  ASSIGN_OR_RETURN(const std::optional<int64_t> below, db.Integer(R"sql(
      WITH RECURSIVE r (row, links) AS (
        VALUES (?1, 0)
        UNION ALL
        SELECT d.row, links + 1 FROM r CROSS JOIN chunks AS d ON d.base = r.row WHERE links <= ?2)
      SELECT MAX(links) FROM r)sql",
                                                                  chunk_row, kMaxBases));
  return links + 1 + below.value_or(0) <= kMaxBases;
}

absl::StatusOr<bool> MoveChunk(WriteTxn& txn, int64_t project_id, const ChunkRow& chunk,
                               const ChunkLocation& to, const std::optional<ChunkRow>& base,
                               const std::set<uint64_t>& checkpoint_ids) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(bool good, IsThere(db, chunk));
  if (good) {
    ASSIGN_OR_RETURN(good, IsUsedOnlyBy(txn, chunk.row, checkpoint_ids));
  }
  if (good && base) {
    ASSIGN_OR_RETURN(good, IsWhole(db, *base));
    if (good) {
      ASSIGN_OR_RETURN(good, MayBeBase(txn, chunk.row, base->row));
    }
  }
  if (!good) {
    RETURN_IF_ERROR(Queue(db, project_id, to));
    return false;
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> old_base,
                   db.Integer("SELECT base FROM chunks WHERE row = ?1", chunk.row));
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE chunks SET pack = ?2, pack_offset = ?3, extent = ?4, encoded = ?5, base = ?6,
        tried = ?5 = 0
      WHERE row = ?1)sql",
                         chunk.row, to.pack, to.offset, to.extent, to.encoded,
                         base ? std::optional(base->row) : std::nullopt));
  const ChunkLocation& from = chunk.chunk.location;
  RETURN_IF_ERROR(db.Run("UPDATE projects SET stored_bytes = stored_bytes + ?2 WHERE id = ?1",
                         project_id,
                         static_cast<int64_t>(to.extent) - static_cast<int64_t>(from.extent)));
  RETURN_IF_ERROR(Queue(db, project_id, from));
  if (old_base) {
    RETURN_IF_ERROR(db.Run("DELETE FROM temp.released"));
    RETURN_IF_ERROR(db.Run("INSERT INTO temp.released VALUES (?1)", *old_base));
    RETURN_IF_ERROR(ReleaseUnused(txn, project_id));
  }
  return true;
}

absl::Status MarkTried(WriteTxn& txn, const ChunkRow& chunk) {
  return txn.connection().Run("UPDATE chunks SET tried = 1 WHERE row = ?1 AND digest = ?2",
                              chunk.row, chunk.chunk.digest);
}

}  // namespace ckptd::catalog
