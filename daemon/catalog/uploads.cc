#include "daemon/catalog/uploads.h"

#include <bit>
#include <limits>
#include <unordered_set>
#include <utility>

#include <absl/strings/str_cat.h>

#include "daemon/catalog/release.h"
#include "daemon/catalog/sqlite.h"
#include "proto/convert.h"

namespace ckptd::catalog {

using absl::StatusCode;
using ckpt::MakeError;

namespace {

constexpr char kSelectUpload[] = R"sql(
SELECT s.row, s.checkpoint_row, c.run_id, r.project_id, c.attempt, c.step, s.rank, c.world_size,
       s.manifest_digest, s.durable, c.id,
       (SELECT MAX(p.id) FROM packs AS p WHERE p.shard_row = s.row AND p.sealed = 0),
       s.opened_at, s.stored_bytes
FROM checkpoints AS c
JOIN shards AS s ON s.checkpoint_row = c.row
JOIN runs AS r ON r.id = c.run_id
)sql";

UploadRow ReadUpload(const Statement& row) {
  UploadRow upload;
  upload.shard_row = row.Int(0);
  upload.checkpoint_row = row.Int(1);
  upload.run_id = row.Int(2);
  upload.project_id = row.Int(3);
  upload.attempt = row.Uint(4);
  upload.step = row.Uint(5);
  upload.rank = row.Uint32(6);
  upload.world_size = row.Uint32(7);
  upload.manifest_digest = row.DigestAt(8);
  upload.durable = row.Bool(9);
  upload.checkpoint_id = row.Uint(10);
  upload.pack = row.Uint(11);
  upload.opened_at = row.Time(12);
  upload.stored_bytes = row.Uint(13);
  return upload;
}

absl::StatusOr<std::optional<UploadRow>> FirstUpload(Statement rows) {
  if (rows.Next()) return ReadUpload(rows);
  RETURN_IF_ERROR(rows.status());
  return std::nullopt;
}

// The upload, which has to be there.
absl::StatusOr<UploadRow> GetUpload(ReadTxn& txn, int64_t shard_row) {
  ASSIGN_OR_RETURN(const std::optional<UploadRow> upload, FindUploadByRow(txn, shard_row));
  if (!upload) {
    return MakeError(StatusCode::kNotFound, ckpt::reason::kUploadNotFound,
                     "The upload is not there any more: open it again.");
  }
  return *upload;
}

absl::Status InsertNotes(Connection& db, int64_t checkpoint_row, const NewUpload& upload) {
  for (const auto& [name, value] : upload.metrics) {
    RETURN_IF_ERROR(db.Run(R"sql(
        INSERT INTO metrics (checkpoint_row, name, bits) VALUES (?1, ?2, ?3)
        ON CONFLICT DO UPDATE SET bits = excluded.bits)sql",
                           checkpoint_row, name, std::bit_cast<int64_t>(value)));
  }
  for (const std::string& name : upload.pending_metrics) {
    RETURN_IF_ERROR(
        db.Run("INSERT INTO metrics (checkpoint_row, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
               checkpoint_row, name));
  }
  for (const auto& [name, value] : upload.labels) {
    RETURN_IF_ERROR(db.Run(R"sql(
        INSERT INTO labels (checkpoint_row, name, value) VALUES (?1, ?2, ?3)
        ON CONFLICT DO UPDATE SET value = excluded.value)sql",
                           checkpoint_row, name, value));
  }
  return absl::OkStatus();
}

// The open checkpoint of (run, attempt, step), created if it is the first
// shard's.
absl::StatusOr<int64_t> OpenCheckpoint(Connection& db, const NewUpload& upload, absl::Time now) {
  ASSIGN_OR_RETURN(Statement rows, db.Query(R"sql(
      SELECT row, world_size, id FROM checkpoints
      WHERE run_id = ?1 AND attempt = ?2 AND step = ?3)sql",
                                            upload.run_id, upload.attempt, upload.step));
  if (rows.Next()) {
    if (!rows.IsNull(2)) {
      return MakeError(StatusCode::kAlreadyExists, ckpt::reason::kStepContentDiffers,
                       fmt::format("Step {} of attempt {} is committed already as checkpoint {}.",
                                   upload.step, upload.attempt, rows.Uint(2)));
    }
    if (rows.Uint32(1) != upload.world_size) {
      return MakeError(StatusCode::kFailedPrecondition, ckpt::reason::kWorldSizeDiffers,
                       fmt::format("Step {} of attempt {} was begun with world size {}, not {}.",
                                   upload.step, upload.attempt, rows.Uint32(1), upload.world_size));
    }
    return rows.Int(0);
  }
  RETURN_IF_ERROR(rows.status());
  RETURN_IF_ERROR(db.Run(R"sql(
      INSERT INTO checkpoints (run_id, attempt, step, world_size, opened_at)
      VALUES (?1, ?2, ?3, ?4, ?5))sql",
                         upload.run_id, upload.attempt, upload.step, upload.world_size, now));
  return db.last_insert_row();
}

// Gives the checkpoint the next id: from here it exists.
absl::StatusOr<uint64_t> CommitCheckpoint(Connection& db, const UploadRow& upload,
                                          uint32_t timeline, absl::Time now) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> id, db.Integer(R"sql(
      UPDATE counters SET value = value + 1 WHERE name = 'checkpoint' RETURNING value)sql"));
  if (!id) {
    return MakeError(StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
                     "The catalog has lost its checkpoint counter. Restore it from a backup.");
  }
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE checkpoints SET id = ?2, timeline = ?3, committed_at = ?4,
        (bytes, stored_bytes) = (
          SELECT SUM(s.bytes), SUM(s.stored_bytes) FROM shards AS s WHERE s.checkpoint_row = ?1)
      WHERE row = ?1)sql",
                         upload.checkpoint_row, *id, timeline, now));
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE runs SET newest_checkpoint = ?2, checkpoints = checkpoints + 1,
        bytes = bytes + (SELECT c.bytes FROM checkpoints AS c WHERE c.id = ?2)
      WHERE id = ?1)sql",
                         upload.run_id, *id));
  return static_cast<uint64_t>(*id);
}

}  // namespace

ckpt::Digest ManifestDigest(const ckpt::Manifest& manifest) {
  return ckpt::HashBytes(ckpt::ToProto(manifest).SerializeAsString());
}

absl::StatusOr<std::optional<UploadRow>> FindUpload(ReadTxn& txn, int64_t run_id, uint64_t attempt,
                                                    uint64_t step, uint32_t rank) {
  const std::string sql = absl::StrCat(
      kSelectUpload, "WHERE c.run_id = ?1 AND c.attempt = ?2 AND c.step = ?3 AND s.rank = ?4");
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, run_id, attempt, step, rank));
  return FirstUpload(std::move(rows));
}

absl::StatusOr<std::optional<UploadRow>> FindUploadByRow(ReadTxn& txn, int64_t shard_row) {
  const std::string sql = absl::StrCat(kSelectUpload, "WHERE s.row = ?1");
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, shard_row));
  return FirstUpload(std::move(rows));
}

namespace {

// Calls `take(bytes)` with the manifest's, once they were found to be right.
template <typename F>
absl::Status ReadManifest(ReadTxn& txn, int64_t shard_row, F take) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT m.manifest, s.manifest_digest
      FROM manifests AS m JOIN shards AS s ON s.row = m.shard_row WHERE m.shard_row = ?1)sql",
                                                          shard_row));
  if (!rows.Next()) {
    RETURN_IF_ERROR(rows.status());
    return MakeError(StatusCode::kNotFound, ckpt::reason::kUploadNotFound,
                     "The upload or its manifest is not there any more: open it again.");
  }
  if (ckpt::HashBytes(rows.View(0)) != rows.DigestAt(1)) {
    return MakeError(StatusCode::kDataLoss, ckpt::reason::kManifestDamaged,
                     fmt::format("the manifest of shard {} is damaged: what the catalog holds is "
                                 "not what its digest says",
                                 shard_row));
  }
  return take(rows.View(0));
}

}  // namespace

absl::StatusOr<ckpt::Manifest> GetUploadManifest(ReadTxn& txn, int64_t shard_row) {
  ckpt::v1::Manifest message;
  RETURN_IF_ERROR(ReadManifest(txn, shard_row, [&](std::string_view bytes) {
    if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return absl::OkStatus();
    }
    return MakeError(StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
                     fmt::format("The stored manifest of shard {} cannot be read. Restore the "
                                 "catalog from a backup.",
                                 shard_row));
  }));
  return ckpt::FromProto(message);
}

absl::StatusOr<uint64_t> CheckManifest(ReadTxn& txn, int64_t shard_row) {
  uint64_t length = 0;
  RETURN_IF_ERROR(ReadManifest(txn, shard_row, [&](std::string_view bytes) {
    length = bytes.size();
    return absl::OkStatus();
  }));
  return length;
}

absl::StatusOr<UploadRow> InsertUpload(WriteTxn& txn, const NewUpload& upload,
                                       const ckpt::Manifest& manifest, absl::Time now) {
  Connection& db = txn.connection();
  // SQLite's integers are signed; beyond, steps would sort wrongly.
  if (upload.step > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return ckpt::BadField("step", fmt::format("The step {} is above 2^63 - 1.", upload.step));
  }
  ASSIGN_OR_RETURN(const int64_t checkpoint_row, OpenCheckpoint(db, upload, now));
  RETURN_IF_ERROR(InsertNotes(db, checkpoint_row, upload));

  std::unordered_set<ckpt::Digest> digests;
  for (const ckpt::Chunk& chunk : manifest.chunks) digests.insert(chunk.digest);
  const std::string bytes = ckpt::ToProto(manifest).SerializeAsString();
  RETURN_IF_ERROR(db.Run(R"sql(
      INSERT INTO shards (checkpoint_row, rank, opened_at, bytes, chunks, manifest_digest)
      VALUES (?1, ?2, ?3, ?4, ?5, ?6))sql",
                         checkpoint_row, upload.rank, now, manifest.bytes(), digests.size(),
                         ckpt::HashBytes(bytes)));
  const int64_t shard_row = db.last_insert_row();
  RETURN_IF_ERROR(db.Run("INSERT INTO manifests (shard_row, manifest) VALUES (?1, ?2)", shard_row,
                         Blob{bytes}));
  return GetUpload(txn, shard_row);
}

namespace {

absl::StatusOr<PackId> InsertPack(Connection& db, std::optional<int64_t> shard_row,
                                  absl::Time now) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> id, db.Integer(R"sql(
      UPDATE counters SET value = value + 1 WHERE name = 'pack' RETURNING value)sql"));
  if (!id) {
    return MakeError(StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
                     "The catalog has lost its pack counter. Restore it from a backup.");
  }
  RETURN_IF_ERROR(db.Run("INSERT INTO packs (id, shard_row, created_at) VALUES (?1, ?2, ?3)", *id,
                         shard_row, now));
  return static_cast<PackId>(*id);
}

}  // namespace

absl::StatusOr<PackId> StartPack(WriteTxn& txn, int64_t shard_row, absl::Time now) {
  return InsertPack(txn.connection(), shard_row, now);
}

absl::StatusOr<PackId> StartOwnPack(WriteTxn& txn, absl::Time now) {
  return InsertPack(txn.connection(), std::nullopt, now);
}

absl::StatusOr<uint64_t> FinishShard(WriteTxn& txn, int64_t shard_row, uint32_t timeline,
                                     absl::Time now) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const UploadRow upload, GetUpload(txn, shard_row));
  if (upload.checkpoint_id != 0) return upload.checkpoint_id;
  // A committed checkpoint never refers to what is not there.
  ASSIGN_OR_RETURN(const std::optional<int64_t> missing, db.Integer(R"sql(
      SELECT s.chunks - (SELECT COUNT(*) FROM shard_chunks AS c WHERE c.shard_row = s.row)
      FROM shards AS s WHERE s.row = ?1)sql",
                                                                    shard_row));
  if (missing.value_or(0) != 0) {
    return MakeError(StatusCode::kFailedPrecondition, ckpt::reason::kChunksMissing,
                     fmt::format("{} chunks of rank {} at step {} are missing: push them, then "
                                 "commit again.",
                                 *missing, upload.rank, upload.step));
  }
  RETURN_IF_ERROR(db.Run("UPDATE shards SET durable = 1 WHERE row = ?1", shard_row));
  ASSIGN_OR_RETURN(const uint32_t durable, CountDurable(txn, upload.checkpoint_row));
  if (durable < upload.world_size) return 0;
  return CommitCheckpoint(db, upload, timeline, now);
}

absl::StatusOr<uint32_t> CountDurable(ReadTxn& txn, int64_t checkpoint_row) {
  ASSIGN_OR_RETURN(
      const std::optional<int64_t> count,
      txn.connection().Integer(
          "SELECT COUNT(*) FROM shards WHERE checkpoint_row = ?1 AND durable = 1", checkpoint_row));
  return static_cast<uint32_t>(count.value_or(0));
}

absl::Status DropUpload(WriteTxn& txn, int64_t shard_row) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const UploadRow upload, GetUpload(txn, shard_row));
  if (upload.checkpoint_id != 0) {
    return MakeError(StatusCode::kFailedPrecondition, ckpt::reason::kInternal,
                     fmt::format("Rank {} of step {} is part of checkpoint {} and cannot be "
                                 "dropped: delete the checkpoint.",
                                 upload.rank, upload.step, upload.checkpoint_id));
  }
  RETURN_IF_ERROR(ReleaseShard(txn, upload.project_id, shard_row));
  RETURN_IF_ERROR(
      db.Run("UPDATE packs SET shard_row = NULL WHERE shard_row = ?1 AND sealed = 0", shard_row));
  RETURN_IF_ERROR(db.Run("DELETE FROM shards WHERE row = ?1", shard_row));
  return db.Run(R"sql(
      DELETE FROM checkpoints WHERE row = ?1 AND NOT EXISTS (
        SELECT 1 FROM shards AS s WHERE s.checkpoint_row = checkpoints.row))sql",
                upload.checkpoint_row);
}

absl::StatusOr<std::vector<UploadRow>> ListOpenUploads(ReadTxn& txn) {
  const std::string sql = absl::StrCat(kSelectUpload, "WHERE c.id IS NULL ORDER BY s.row");
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql));
  std::vector<UploadRow> uploads;
  while (rows.Next()) uploads.push_back(ReadUpload(rows));
  RETURN_IF_ERROR(rows.status());
  return uploads;
}

}  // namespace ckptd::catalog
