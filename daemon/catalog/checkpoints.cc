#include "daemon/catalog/checkpoints.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "daemon/catalog/sqlite.h"
#include "daemon/catalog/uploads.h"
#include "proto/convert.h"

namespace ckptd::catalog {

using absl::StatusCode;
using ckpt::MakeError;

namespace {

constexpr char kSelectCheckpoint[] = R"sql(
SELECT c.row, c.id, p.name, r.name, c.step, c.world_size, c.timeline, c.attempt, c.committed_at,
       c.bytes, c.stored_bytes, c.damage, c.removed_at, c.restorable_until, c.removal
FROM checkpoints AS c
JOIN runs AS r ON r.id = c.run_id
JOIN projects AS p ON p.id = r.project_id
)sql";

absl::Status NoSuchCheckpoint(uint64_t id) {
  return MakeError(StatusCode::kNotFound, ckpt::reason::kCheckpointNotFound,
                   fmt::format("There is no checkpoint {}.", id));
}

// An UPDATE of one checkpoint found it.
absl::Status RequireChange(Connection& db, uint64_t id) {
  return db.changes() == 1 ? absl::OkStatus() : NoSuchCheckpoint(id);
}

// The key of a committed checkpoint.
absl::StatusOr<int64_t> RowOf(ReadTxn& txn, uint64_t id) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> row,
                   txn.connection().Integer("SELECT row FROM checkpoints WHERE id = ?1", id));
  if (!row) return NoSuchCheckpoint(id);
  return *row;
}

std::string Serialize(const std::vector<ckpt::Reason>& reasons) {
  ckpt::v1::Verdict verdict;
  verdict.set_keep(false);
  for (const ckpt::Reason& reason : reasons) {
    ckpt::v1::Reason* message = verdict.add_reasons();
    message->set_rule(static_cast<ckpt::v1::Reason::Rule>(reason.rule));
    message->set_text(reason.text);
  }
  return verdict.SerializeAsString();
}

absl::StatusOr<ckpt::Verdict> ParseRemoval(std::string_view bytes, uint64_t id) {
  ckpt::v1::Verdict message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return MakeError(StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
                     fmt::format("The stored reasons why checkpoint {} was removed cannot be read. "
                                 "Restore the catalog from a backup.",
                                 id));
  }
  ckpt::Verdict verdict;
  verdict.keep = message.keep();
  for (const ckpt::v1::Reason& reason : message.reasons()) {
    verdict.reasons.push_back({static_cast<ckpt::Reason::Rule>(reason.rule()), reason.text()});
  }
  return verdict;
}

// Calls `note(checkpoint, row)` with what one of their tables has of these
// checkpoints; the query's first column is the place in the list.
template <typename F>
absl::Status ReadNotes(Connection& db, std::string_view sql, const std::string& list,
                       std::vector<ckpt::Checkpoint>& checkpoints, F note) {
  ASSIGN_OR_RETURN(Statement rows, db.Query(sql, list));
  while (rows.Next()) note(checkpoints[static_cast<size_t>(rows.Int(0))], rows);
  return rows.status();
}

// What lies in tables of its own: one query a table, however many they are.
// `keys`: their rows.
absl::Status ReadAllNotes(Connection& db, const std::vector<int64_t>& keys,
                          std::vector<ckpt::Checkpoint>& checkpoints) {
  if (keys.empty()) return absl::OkStatus();
  const std::string list = fmt::format("[{}]", fmt::join(keys, ","));
  RETURN_IF_ERROR(ReadNotes(db, R"sql(
      SELECT j.key, m.name, m.bits
      FROM json_each(?1) AS j CROSS JOIN metrics AS m ON m.checkpoint_row = j.value)sql",
                            list, checkpoints, [](ckpt::Checkpoint& c, const Statement& row) {
                              if (row.IsNull(2)) {
                                c.pending_metrics.insert(row.Text(1));
                              } else {
                                c.metrics.emplace(row.Text(1), std::bit_cast<double>(row.Int(2)));
                              }
                            }));
  RETURN_IF_ERROR(ReadNotes(db, R"sql(
      SELECT j.key, l.name, l.value
      FROM json_each(?1) AS j CROSS JOIN labels AS l ON l.checkpoint_row = j.value)sql",
                            list, checkpoints, [](ckpt::Checkpoint& c, const Statement& row) {
                              c.labels.emplace(row.Text(1), row.Text(2));
                            }));
  RETURN_IF_ERROR(ReadNotes(db, R"sql(
      SELECT j.key, n.name
      FROM json_each(?1) AS j CROSS JOIN pins AS n ON n.checkpoint_row = j.value)sql",
                            list, checkpoints, [](ckpt::Checkpoint& c, const Statement& row) {
                              c.pins.insert(row.Text(1));
                            }));
  return ReadNotes(db, R"sql(
      SELECT j.key, a.name
      FROM json_each(?1) AS j CROSS JOIN aliases AS a ON a.checkpoint_row = j.value)sql",
                   list, checkpoints, [](ckpt::Checkpoint& c, const Statement& row) {
                     c.aliases.insert(row.Text(1));
                   });
}

// Without its notes.
absl::StatusOr<ckpt::Checkpoint> ReadCheckpoint(const Statement& row) {
  ckpt::Checkpoint checkpoint;
  checkpoint.id = row.Uint(1);
  checkpoint.run = {row.Text(2), row.Text(3)};
  checkpoint.step = row.Uint(4);
  checkpoint.world_size = row.Uint32(5);
  checkpoint.timeline = row.Uint32(6);
  checkpoint.attempt = row.Uint(7);
  checkpoint.committed_at = row.Time(8);
  checkpoint.bytes = row.Uint(9);
  checkpoint.stored_bytes = row.Uint(10);
  checkpoint.damage = row.Text(11);
  checkpoint.removed_at = row.OptionalTime(12);
  checkpoint.restorable_until = row.OptionalTime(13);
  if (!row.IsNull(14)) {
    ASSIGN_OR_RETURN(checkpoint.verdict, ParseRemoval(row.View(14), checkpoint.id));
  }
  return checkpoint;
}

absl::StatusOr<std::vector<ckpt::Checkpoint>> AllCheckpoints(Connection& db, Statement rows) {
  std::vector<ckpt::Checkpoint> checkpoints;
  std::vector<int64_t> keys;
  while (rows.Next()) {
    ASSIGN_OR_RETURN(ckpt::Checkpoint checkpoint, ReadCheckpoint(rows));
    checkpoints.push_back(std::move(checkpoint));
    keys.push_back(rows.Int(0));
  }
  RETURN_IF_ERROR(rows.status());
  RETURN_IF_ERROR(ReadAllNotes(db, keys, checkpoints));
  return checkpoints;
}

absl::StatusOr<std::optional<ckpt::Checkpoint>> FirstCheckpoint(Connection& db, Statement rows) {
  ASSIGN_OR_RETURN(std::vector<ckpt::Checkpoint> found, AllCheckpoints(db, std::move(rows)));
  if (found.empty()) return std::nullopt;
  return std::move(found.front());
}

// SQLite's integers are signed; no step or id is above their maximum.
int64_t Clamp(uint64_t value) {
  return static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max()));
}

absl::StatusOr<std::vector<uint64_t>> ReadIds(Statement rows) {
  std::vector<uint64_t> ids;
  while (rows.Next()) ids.push_back(rows.Uint(0));
  RETURN_IF_ERROR(rows.status());
  return ids;
}

}  // namespace

absl::StatusOr<std::vector<ckpt::Checkpoint>> ListCheckpoints(ReadTxn& txn, int64_t run_id,
                                                              const ListFilter& filter) {
  // Two texts, since a partial index is chosen when a statement is prepared.
  const std::string rest = R"sql(
  AND c.id < ?2 AND c.step >= ?3 AND c.step <= ?4 AND (?5 = 0 OR c.timeline = ?5)
  AND (?6 = 0 OR EXISTS (SELECT 1 FROM pins AS n WHERE n.checkpoint_row = c.row))
ORDER BY c.id DESC LIMIT ?7)sql";
  const std::string all =
      std::string(kSelectCheckpoint) + "WHERE c.run_id = ?1 AND c.id IS NOT NULL" + rest;
  const std::string live =
      std::string(kSelectCheckpoint) +
      "WHERE c.run_id = ?1 AND c.id IS NOT NULL AND c.removed_at IS NULL" + rest;
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(
      Statement rows,
      db.Query(filter.include_removed ? all : live, run_id,
               filter.before_id == 0 ? kMax : Clamp(filter.before_id),
               Clamp(filter.min_step.value_or(0)), filter.max_step ? Clamp(*filter.max_step) : kMax,
               filter.timeline, filter.pinned_only,
               filter.limit == 0 ? int64_t{-1} : int64_t{filter.limit}));
  return AllCheckpoints(db, std::move(rows));
}

absl::StatusOr<std::optional<ckpt::Checkpoint>> FindCheckpoint(ReadTxn& txn, uint64_t id) {
  const std::string sql = std::string(kSelectCheckpoint) + "WHERE c.id = ?1";
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(Statement rows, db.Query(sql, id));
  return FirstCheckpoint(db, std::move(rows));
}

absl::StatusOr<std::optional<ckpt::Checkpoint>> FindByStep(ReadTxn& txn, int64_t run_id,
                                                           uint64_t step, uint32_t timeline,
                                                           bool include_removed) {
  const std::string sql = std::string(kSelectCheckpoint) + R"sql(
WHERE c.run_id = ?1 AND c.step = ?2 AND c.id IS NOT NULL AND (?3 = 0 OR c.timeline = ?3)
  AND (?4 OR c.removed_at IS NULL)
ORDER BY c.id DESC LIMIT 1)sql";
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(Statement rows, db.Query(sql, run_id, step, timeline, include_removed));
  return FirstCheckpoint(db, std::move(rows));
}

absl::StatusOr<std::vector<ckpt::Checkpoint>> ListByStep(ReadTxn& txn, int64_t run_id,
                                                         uint64_t step) {
  const std::string sql = std::string(kSelectCheckpoint) + R"sql(
WHERE c.run_id = ?1 AND c.step = ?2 AND c.id IS NOT NULL AND +c.removed_at IS NULL
ORDER BY c.id DESC)sql";
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(Statement rows, db.Query(sql, run_id, Clamp(step)));
  return AllCheckpoints(db, std::move(rows));
}

absl::StatusOr<std::optional<ckpt::Checkpoint>> FindByAlias(ReadTxn& txn, int64_t run_id,
                                                            const std::string& alias) {
  const std::string sql = std::string(kSelectCheckpoint) + R"sql(
WHERE c.row = (SELECT a.checkpoint_row FROM aliases AS a WHERE a.run_id = ?1 AND a.name = ?2)
)sql";
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(Statement rows, db.Query(sql, run_id, alias));
  return FirstCheckpoint(db, std::move(rows));
}

absl::StatusOr<int64_t> RunIdOf(ReadTxn& txn, uint64_t checkpoint_id) {
  ASSIGN_OR_RETURN(
      const std::optional<int64_t> run_id,
      txn.connection().Integer("SELECT run_id FROM checkpoints WHERE id = ?1", checkpoint_id));
  if (!run_id) return NoSuchCheckpoint(checkpoint_id);
  return *run_id;
}

absl::StatusOr<RunFigures> GetRunFigures(ReadTxn& txn, int64_t run_id) {
  ASSIGN_OR_RETURN(
      Statement rows,
      txn.connection().Query("SELECT checkpoints, removed, bytes FROM runs WHERE id = ?1", run_id));
  RunFigures figures;
  if (rows.Next()) figures = {rows.Uint(0), rows.Uint(1), rows.Uint(2)};
  RETURN_IF_ERROR(rows.status());
  return figures;
}

absl::Status MarkRemoved(WriteTxn& txn, uint64_t id, const std::vector<ckpt::Reason>& reasons,
                         absl::Time now, std::optional<absl::Time> restorable_until) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const int64_t row, RowOf(txn, id));
  ASSIGN_OR_RETURN(const std::optional<int64_t> held, db.Integer(R"sql(
      SELECT EXISTS (SELECT 1 FROM pins WHERE checkpoint_row = ?1)
          OR EXISTS (SELECT 1 FROM aliases WHERE checkpoint_row = ?1))sql",
                                                                 row));
  if (held.value_or(0) != 0) {
    return MakeError(StatusCode::kFailedPrecondition, ckpt::reason::kCheckpointHeld,
                     fmt::format("Checkpoint {} has a pin or an alias: take it away first.", id));
  }
  const std::string removal = Serialize(reasons);
  // At once means whatever the clock says: it may be set back meanwhile.
  const absl::Time reclaim_at = restorable_until.value_or(absl::UnixEpoch());
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE checkpoints SET removed_at = ?2, removal = ?3, restorable_until = ?4, reclaim_at = ?5
      WHERE row = ?1 AND removed_at IS NULL)sql",
                         row, now, Blob{removal}, restorable_until, reclaim_at));
  if (db.changes() == 0) {
    return MakeError(StatusCode::kFailedPrecondition, ckpt::reason::kCheckpointRemoved,
                     fmt::format("Checkpoint {} is removed already.", id));
  }
  return db.Run(R"sql(
      UPDATE runs SET checkpoints = runs.checkpoints - 1, removed = runs.removed + 1,
        bytes = runs.bytes - c.bytes
      FROM checkpoints AS c WHERE c.row = ?1 AND runs.id = c.run_id)sql",
                row);
}

absl::Status MarkRestored(WriteTxn& txn, uint64_t id) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const int64_t row, RowOf(txn, id));
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE checkpoints
      SET removed_at = NULL, removal = NULL, restorable_until = NULL, reclaim_at = NULL
      WHERE row = ?1 AND removed_at IS NOT NULL AND reclaimed = 0)sql",
                         row));
  if (db.changes() == 0) {
    return MakeError(
        StatusCode::kFailedPrecondition, ckpt::reason::kNotRestorable,
        fmt::format("Checkpoint {} is not removed, or its space was given back already.", id));
  }
  return db.Run(R"sql(
      UPDATE runs SET checkpoints = runs.checkpoints + 1, removed = runs.removed - 1,
        bytes = runs.bytes + c.bytes
      FROM checkpoints AS c WHERE c.row = ?1 AND runs.id = c.run_id)sql",
                row);
}

absl::Status SetDamage(WriteTxn& txn, uint64_t id, const std::string& damage) {
  RETURN_IF_ERROR(
      txn.connection().Run("UPDATE checkpoints SET damage = ?2, on_disk = 0 WHERE id = ?1", id,
                           damage));
  return RequireChange(txn.connection(), id);
}

absl::Status SetMetrics(WriteTxn& txn, uint64_t id, const ckpt::Metrics& metrics) {
  ASSIGN_OR_RETURN(const int64_t row, RowOf(txn, id));
  for (const auto& [name, value] : metrics) {
    RETURN_IF_ERROR(txn.connection().Run(R"sql(
        INSERT INTO metrics (checkpoint_row, name, bits) VALUES (?1, ?2, ?3)
        ON CONFLICT DO UPDATE SET bits = excluded.bits)sql",
                                         row, name, std::bit_cast<int64_t>(value)));
  }
  return absl::OkStatus();
}

absl::Status AddPin(WriteTxn& txn, uint64_t id, const std::string& name, absl::Time now) {
  ASSIGN_OR_RETURN(const int64_t row, RowOf(txn, id));
  return txn.connection().Run(R"sql(
      INSERT INTO pins (checkpoint_row, name, pinned_at) VALUES (?1, ?2, ?3)
      ON CONFLICT DO NOTHING)sql",
                              row, name, now);
}

absl::StatusOr<bool> RemovePin(WriteTxn& txn, uint64_t id, const std::string& name) {
  ASSIGN_OR_RETURN(const int64_t row, RowOf(txn, id));
  RETURN_IF_ERROR(
      txn.connection().Run("DELETE FROM pins WHERE checkpoint_row = ?1 AND name = ?2", row, name));
  return txn.connection().changes() == 1;
}

absl::StatusOr<uint64_t> SetAlias(WriteTxn& txn, int64_t run_id, const std::string& alias,
                                  uint64_t id, absl::Time now) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const int64_t owner, RunIdOf(txn, id));
  if (owner != run_id) {
    return MakeError(StatusCode::kNotFound, ckpt::reason::kCheckpointNotFound,
                     fmt::format("Checkpoint {} is not of this run.", id));
  }
  ASSIGN_OR_RETURN(const int64_t row, RowOf(txn, id));
  ASSIGN_OR_RETURN(const std::optional<int64_t> before, db.Integer(R"sql(
      SELECT c.id FROM aliases AS a JOIN checkpoints AS c ON c.row = a.checkpoint_row
      WHERE a.run_id = ?1 AND a.name = ?2)sql",
                                                                   run_id, alias));
  const uint64_t before_id = static_cast<uint64_t>(before.value_or(0));
  if (before_id == id) return 0;
  RETURN_IF_ERROR(db.Run(R"sql(
      INSERT INTO aliases (run_id, name, checkpoint_row, set_at) VALUES (?1, ?2, ?3, ?4)
      ON CONFLICT DO UPDATE SET checkpoint_row = excluded.checkpoint_row, set_at = excluded.set_at
      )sql",
                         run_id, alias, row, now));
  return before_id;
}

absl::StatusOr<bool> RemoveAlias(WriteTxn& txn, int64_t run_id, const std::string& alias) {
  RETURN_IF_ERROR(
      txn.connection().Run("DELETE FROM aliases WHERE run_id = ?1 AND name = ?2", run_id, alias));
  return txn.connection().changes() == 1;
}

absl::StatusOr<std::vector<uint64_t>> ListReferenced(ReadTxn& txn, int64_t run_id) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT t.forked_from FROM timelines AS t JOIN runs AS r ON r.id = t.run_id
      WHERE t.forked_from_run = ?1 AND t.forked_from IS NOT NULL
        AND t.run_id <> ?1 AND r.deleted = 0
      UNION
      SELECT a.resumed_from FROM attempts AS a JOIN runs AS r ON r.id = a.run_id
      WHERE a.resumed_from_run = ?1 AND a.resumed_from_run <> a.run_id AND r.deleted = 0)sql",
                                                          run_id));
  return ReadIds(std::move(rows));
}

absl::StatusOr<std::optional<ckpt::Manifest>> FindManifest(ReadTxn& txn, uint64_t id,
                                                           uint32_t rank) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> shard_row, txn.connection().Integer(R"sql(
      SELECT m.shard_row
      FROM checkpoints AS c JOIN shards AS s ON s.checkpoint_row = c.row
      JOIN manifests AS m ON m.shard_row = s.row
      WHERE c.id = ?1 AND s.rank = ?2)sql",
                                                                                    id, rank));
  if (!shard_row) return std::nullopt;
  return GetUploadManifest(txn, *shard_row);
}

absl::StatusOr<std::vector<uint64_t>> ListReclaimable(ReadTxn& txn, absl::Time now) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT id FROM checkpoints WHERE reclaim_at IS NOT NULL AND reclaim_at <= ?1
      ORDER BY reclaim_at, row)sql",
                                                          now));
  return ReadIds(std::move(rows));
}

absl::StatusOr<std::optional<absl::Time>> NextReclaimable(ReadTxn& txn, absl::Time now) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> next, txn.connection().Integer(R"sql(
      SELECT MIN(reclaim_at) FROM checkpoints WHERE reclaim_at IS NOT NULL AND reclaim_at > ?1
      )sql",
                                                                               now));
  if (!next) return std::nullopt;
  return absl::FromUnixNanos(*next);
}

}  // namespace ckptd::catalog
