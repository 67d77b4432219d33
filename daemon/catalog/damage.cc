#include "daemon/catalog/damage.h"

#include <algorithm>

#include "daemon/catalog/location.h"
#include "daemon/catalog/release.h"
#include "daemon/catalog/sqlite.h"
#include "daemon/catalog/uploads.h"
#include "proto/convert.h"

namespace ckptd::catalog {

namespace {

// The differences to a chunk that is damaged, and the differences to those.
constexpr char kMarkDifferences[] = R"sql(
UPDATE chunks SET damaged = 2 WHERE damaged = 0 AND row IN (
  WITH RECURSIVE r (row) AS (
    SELECT row FROM chunks WHERE base = ?1
    UNION SELECT d.row FROM r CROSS JOIN chunks AS d ON d.base = r.row)
  SELECT row FROM r)
)sql";

// Down to those that are damaged themselves, and no further.
constexpr char kClearDifferences[] = R"sql(
UPDATE chunks SET damaged = 0 WHERE row IN (
  WITH RECURSIVE r (row) AS (
    SELECT row FROM chunks WHERE base = ?1 AND damaged = 2
    UNION SELECT d.row FROM r CROSS JOIN chunks AS d ON d.base = r.row WHERE d.damaged = 2)
  SELECT row FROM r)
)sql";

absl::Status RequireCheckpoint(Connection& db, uint64_t id) {
  if (db.changes() > 0) return absl::OkStatus();
  return ckpt::MakeError(absl::StatusCode::kNotFound, ckpt::reason::kCheckpointNotFound,
                         fmt::format("There is no checkpoint {}.", id));
}

}  // namespace

absl::Status MarkChunkDamaged(WriteTxn& txn, int64_t project_id, const ckpt::Digest& digest) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const std::optional<int64_t> row, db.Integer(R"sql(
      UPDATE chunks SET damaged = 1 WHERE project_id = ?1 AND digest = ?2 RETURNING row)sql",
                                                                project_id, digest));
  return row ? db.Run(kMarkDifferences, *row) : absl::OkStatus();
}

absl::Status MarkChunkWhole(WriteTxn& txn, int64_t chunk_row) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const std::optional<int64_t> damaged, db.Integer(R"sql(
      UPDATE chunks SET unreadable = 0, damaged = IIF(
        EXISTS (SELECT 1 FROM chunks AS b WHERE b.row = chunks.base AND b.damaged <> 0), 2, 0)
      WHERE row = ?1 RETURNING damaged)sql",
                                                                    chunk_row));
  return damaged == 0 ? db.Run(kClearDifferences, chunk_row) : absl::OkStatus();
}

absl::Status MarkChainWhole(WriteTxn& txn, int64_t project_id, const ckpt::Digest& digest) {
  ASSIGN_OR_RETURN(Statement chain, txn.connection().Query(R"sql(
      WITH RECURSIVE r (row, base, links) AS (
        SELECT row, base, 0 FROM chunks WHERE project_id = ?1 AND digest = ?2
        UNION ALL
        SELECT c.row, c.base, links + 1 FROM r CROSS JOIN chunks AS c ON c.row = r.base)
      SELECT row FROM r ORDER BY links DESC)sql",
                                                           project_id, digest));
  std::vector<int64_t> rows;
  while (chain.Next()) rows.push_back(chain.Int(0));
  RETURN_IF_ERROR(chain.status());
  for (const int64_t row : rows) RETURN_IF_ERROR(MarkChunkWhole(txn, row));
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> CountDamagedChunksOf(ReadTxn& txn, int64_t project_id) {
  ASSIGN_OR_RETURN(
      const std::optional<int64_t> count,
      txn.connection().Integer(
          "SELECT COUNT(*) FROM chunks WHERE project_id = ?1 AND damaged <> 0", project_id));
  return static_cast<uint64_t>(count.value_or(0));
}

absl::StatusOr<uint64_t> CountDamagedChunks(ReadTxn& txn) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> count,
                   txn.connection().Integer("SELECT COUNT(*) FROM chunks WHERE damaged <> 0"));
  return static_cast<uint64_t>(count.value_or(0));
}

absl::StatusOr<std::vector<StoredChunk>> ListDamagedChunks(ReadTxn& txn, uint64_t checkpoint_id,
                                                           int64_t limit) {
  Connection& db = txn.connection();
  // From the damaged ones, which are few, to who refers to them.
  ASSIGN_OR_RETURN(Statement rows, db.Query(R"sql(
      SELECT k.digest, k.pack, k.pack_offset, k.extent, k.length, k.encoded, k.base
      FROM checkpoints AS c CROSS JOIN runs AS r ON r.id = c.run_id
      CROSS JOIN chunks AS k ON k.project_id = r.project_id
      WHERE c.id = ?1 AND k.damaged <> 0 AND EXISTS (
        SELECT 1 FROM shard_chunks AS x JOIN shards AS s ON s.row = x.shard_row
        WHERE x.chunk_row = k.row AND s.checkpoint_row = c.row) LIMIT ?2)sql",
                                            checkpoint_id, limit));
  BaseCache bases;
  std::vector<StoredChunk> chunks;
  while (rows.Next()) {
    StoredChunk chunk{.digest = rows.DigestAt(0)};
    ASSIGN_OR_RETURN(chunk.location, ReadLocation(db, rows, 1, bases));
    chunks.push_back(std::move(chunk));
  }
  RETURN_IF_ERROR(rows.status());
  return chunks;
}

absl::StatusOr<std::vector<uint64_t>> ListUsers(ReadTxn& txn, int64_t project_id,
                                                const ckpt::Digest& digest) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      WITH RECURSIVE r (row) AS (
        SELECT row FROM chunks WHERE project_id = ?1 AND digest = ?2
        UNION SELECT d.row FROM r CROSS JOIN chunks AS d ON d.base = r.row)
      SELECT DISTINCT c.id
      FROM r CROSS JOIN shard_chunks AS x ON x.chunk_row = r.row
      JOIN shards AS s ON s.row = x.shard_row JOIN checkpoints AS c ON c.row = s.checkpoint_row
      WHERE c.id IS NOT NULL AND c.reclaimed = 0
      ORDER BY c.id)sql",
                                                          project_id, digest));
  std::vector<uint64_t> ids;
  while (rows.Next()) ids.push_back(rows.Uint(0));
  RETURN_IF_ERROR(rows.status());
  return ids;
}

absl::StatusOr<int64_t> DropDamagedReferences(WriteTxn& txn, int64_t project_id,
                                              int64_t shard_row) {
  Connection& db = txn.connection();
  RETURN_IF_ERROR(db.Run("DELETE FROM temp.released"));
  RETURN_IF_ERROR(db.Run(R"sql(
      INSERT INTO temp.released
      SELECT k.row FROM chunks AS k
      WHERE k.project_id = ?1 AND k.damaged <> 0
        AND EXISTS (SELECT 1 FROM shard_chunks AS x WHERE x.shard_row = ?2 AND x.chunk_row = k.row)
      )sql",
                         project_id, shard_row));
  const int64_t dropped = db.changes();
  if (dropped > 0) RETURN_IF_ERROR(ReleaseListed(txn, project_id, shard_row));
  return dropped;
}

absl::Status MarkManifest(WriteTxn& txn, uint64_t checkpoint_id, uint32_t rank, bool damaged) {
  RETURN_IF_ERROR(txn.connection().Run(R"sql(
      UPDATE shards SET damaged = ?3
      WHERE checkpoint_row = (SELECT c.row FROM checkpoints AS c WHERE c.id = ?1) AND rank = ?2
      )sql",
                                       checkpoint_id, rank, damaged));
  return RequireCheckpoint(txn.connection(), checkpoint_id);
}

absl::StatusOr<std::optional<uint32_t>> FindDamagedManifest(ReadTxn& txn, uint64_t checkpoint_id) {
  ASSIGN_OR_RETURN(Statement shards, txn.connection().Query(R"sql(
      SELECT s.row, s.rank FROM checkpoints AS c JOIN shards AS s ON s.checkpoint_row = c.row
      WHERE c.id = ?1 ORDER BY s.rank)sql",
                                                            checkpoint_id));
  while (shards.Next()) {
    const absl::Status status = CheckManifest(txn, shards.Int(0)).status();
    if (ckpt::HasReason(status, ckpt::reason::kManifestDamaged)) return shards.Uint32(1);
    RETURN_IF_ERROR(status);
  }
  RETURN_IF_ERROR(shards.status());
  return std::nullopt;
}

absl::StatusOr<bool> HealManifests(WriteTxn& txn, const ckpt::Manifest& manifest) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const std::optional<int64_t> any,
                   db.Integer("SELECT EXISTS (SELECT 1 FROM shards WHERE damaged <> 0)"));
  if (any.value_or(0) == 0) return false;
  const std::string bytes = ckpt::ToProto(manifest).SerializeAsString();
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE manifests SET manifest = ?1 WHERE shard_row IN (
        SELECT s.row FROM shards AS s WHERE s.damaged <> 0 AND s.manifest_digest = ?2))sql",
                         Blob{bytes}, ckpt::HashBytes(bytes)));
  if (db.changes() == 0) return false;
  RETURN_IF_ERROR(
      db.Run("UPDATE shards SET damaged = 0 WHERE damaged <> 0 AND manifest_digest = ?1",
             ckpt::HashBytes(bytes)));
  return true;
}

absl::Status MarkManifestsWhole(WriteTxn& txn, uint64_t checkpoint_id) {
  return txn.connection().Run(R"sql(
      UPDATE shards SET damaged = 0
      WHERE checkpoint_row = (SELECT c.row FROM checkpoints AS c WHERE c.id = ?1) AND damaged <> 0
      )sql",
                              checkpoint_id);
}

absl::Status SetDamageOnDisk(WriteTxn& txn, uint64_t checkpoint_id, const std::string& damage) {
  RETURN_IF_ERROR(txn.connection().Run(
      "UPDATE checkpoints SET damage = ?2, on_disk = 1 WHERE id = ?1", checkpoint_id, damage));
  return RequireCheckpoint(txn.connection(), checkpoint_id);
}

absl::StatusOr<std::vector<uint64_t>> ListHealed(ReadTxn& txn) {
  ASSIGN_OR_RETURN(Statement rows,
                   txn.connection().Query(
                       "SELECT c.id FROM checkpoints AS c WHERE c.damage <> '' AND c.on_disk = 1"));
  std::vector<uint64_t> healed;
  while (rows.Next()) {
    ASSIGN_OR_RETURN(const bool damaged, IsDamagedOnDisk(txn, rows.Uint(0)));
    if (!damaged) healed.push_back(rows.Uint(0));
  }
  RETURN_IF_ERROR(rows.status());
  std::ranges::sort(healed);
  return healed;
}

absl::StatusOr<bool> IsDamagedOnDisk(ReadTxn& txn, uint64_t checkpoint_id) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const std::optional<int64_t> manifest, db.Integer(R"sql(
      SELECT 1 FROM checkpoints AS c JOIN shards AS s ON s.checkpoint_row = c.row
      WHERE c.id = ?1 AND s.damaged <> 0 LIMIT 1)sql",
                                                                     checkpoint_id));
  if (manifest) return true;
  ASSIGN_OR_RETURN(const std::vector<StoredChunk> chunks,
                   ListDamagedChunks(txn, checkpoint_id, /*limit=*/1));
  return !chunks.empty();
}

absl::StatusOr<uint64_t> CountDamaged(ReadTxn& txn, std::optional<int64_t> project_id,
                                      std::optional<int64_t> run_id) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> count,
                   txn.connection().Integer(R"sql(
      SELECT COUNT(*) FROM checkpoints AS c CROSS JOIN runs AS r ON r.id = c.run_id
      WHERE c.damage <> '' AND c.removed_at IS NULL
        AND (?1 IS NULL OR r.project_id = ?1) AND (?2 IS NULL OR r.id = ?2))sql",
                                            project_id, run_id));
  return static_cast<uint64_t>(count.value_or(0));
}

}  // namespace ckptd::catalog
