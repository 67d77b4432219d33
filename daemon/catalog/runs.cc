#include "daemon/catalog/runs.h"

#include <utility>

#include "daemon/catalog/sqlite.h"
#include "proto/convert.h"

namespace ckptd::catalog {

namespace {

// A run with its policy in force, to be followed by WHERE.
constexpr char kSelectRun[] = R"sql(
SELECT r.id, r.project_id, p.name, r.name, r.created_at, r.newest_attempt, r.current_timeline,
       r.deleted, q.policy
FROM runs AS r
JOIN projects AS p ON p.id = r.project_id
LEFT JOIN policies AS q ON q.run_id = r.id AND q.version = r.policy_version
)sql";

constexpr char kSelectAttempt[] = R"sql(
SELECT number, launch_id, world_size, opened_at, resumed_from, timeline FROM attempts
)sql";

absl::StatusOr<RunRow> ReadRun(const Statement& row) {
  RunRow run;
  run.id = row.Int(0);
  run.project_id = row.Int(1);
  run.name = {row.Text(2), row.Text(3)};
  run.created_at = row.Time(4);
  run.newest_attempt = row.Uint(5);
  run.current_timeline = row.Uint32(6);
  run.deleted = row.Bool(7);
  if (!row.IsNull(8)) {
    const std::string_view bytes = row.View(8);
    ckpt::v1::Policy message;
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
                             fmt::format("The stored policy of run {} cannot be read. Set it anew.",
                                         run.name.ToString()));
    }
    ASSIGN_OR_RETURN(run.policy, ckpt::FromProto(message));
  }
  return run;
}

absl::StatusOr<std::optional<RunRow>> FirstRun(Statement rows) {
  if (!rows.Next()) {
    if (!rows.status().ok()) return rows.status();
    return std::nullopt;
  }
  ASSIGN_OR_RETURN(RunRow run, ReadRun(rows));
  return run;
}

absl::StatusOr<std::optional<AttemptRow>> FirstAttempt(Statement rows) {
  if (!rows.Next()) {
    if (!rows.status().ok()) return rows.status();
    return std::nullopt;
  }
  AttemptRow attempt;
  attempt.number = rows.Uint(0);
  attempt.launch_id = rows.Text(1);
  attempt.world_size = rows.Uint32(2);
  attempt.opened_at = rows.Time(3);
  attempt.resumed_from = rows.Uint(4);
  attempt.timeline = rows.Uint32(5);
  return attempt;
}

absl::Status NoSuchRun(int64_t run_id) {
  return ckpt::MakeError(absl::StatusCode::kNotFound, ckpt::reason::kRunNotFound,
                         fmt::format("The catalog has no run with row {}.", run_id));
}

absl::Status NoSuchAttempt(uint64_t number) {
  return ckpt::MakeError(absl::StatusCode::kNotFound, ckpt::reason::kAttemptNotFound,
                         fmt::format("The run has no attempt {}.", number));
}

// The run of a checkpoint that something starts from; nothing for id 0.
absl::StatusOr<std::optional<int64_t>> RunOfStart(Connection& db, uint64_t checkpoint_id) {
  if (checkpoint_id == 0) return std::nullopt;
  ASSIGN_OR_RETURN(const std::optional<int64_t> run_id,
                   db.Integer("SELECT run_id FROM checkpoints WHERE id = ?1", checkpoint_id));
  if (!run_id) {
    return ckpt::MakeError(absl::StatusCode::kNotFound, ckpt::reason::kCheckpointNotFound,
                           fmt::format("There is no checkpoint {}.", checkpoint_id));
  }
  return run_id;
}

std::optional<uint64_t> UnlessZero(uint64_t id) {
  return id == 0 ? std::nullopt : std::optional<uint64_t>(id);
}

}  // namespace

absl::StatusOr<std::optional<RunRow>> FindRun(ReadTxn& txn, const ckpt::RunName& name) {
  const std::string sql = std::string(kSelectRun) + "WHERE p.name = ?1 AND r.name = ?2";
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, name.project, name.run));
  return FirstRun(std::move(rows));
}

absl::StatusOr<std::optional<RunRow>> FindRunById(ReadTxn& txn, int64_t run_id) {
  const std::string sql = std::string(kSelectRun) + "WHERE r.id = ?1";
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, run_id));
  return FirstRun(std::move(rows));
}

absl::StatusOr<RunRow> CreateRun(WriteTxn& txn, const ckpt::RunName& name,
                                 const std::optional<ckpt::Policy>& policy, absl::Time now) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(std::optional<RunRow> run, FindRun(txn, name));
  if (run && !run->deleted) return *std::move(run);

  int64_t run_id = 0;
  if (run) {
    run_id = run->id;
    RETURN_IF_ERROR(
        db.Run("UPDATE runs SET deleted = 0, created_at = ?2 WHERE id = ?1", run_id, now));
  } else {
    RETURN_IF_ERROR(
        db.Run("INSERT INTO projects (name) VALUES (?1) ON CONFLICT DO NOTHING", name.project));
    RETURN_IF_ERROR(db.Run(R"sql(
        INSERT INTO runs (project_id, name, created_at)
        SELECT id, ?2, ?3 FROM projects WHERE name = ?1)sql",
                           name.project, name.run, now));
    run_id = db.last_insert_row();
  }
  RETURN_IF_ERROR(InsertTimeline(txn, run_id, 0,
                                 run ? "opened again after the run was deleted" : "the run began",
                                 now)
                      .status());
  // A policy of the run's life before does not come back.
  if (policy || (run && run->policy)) {
    RETURN_IF_ERROR(SetRunPolicy(txn, run_id, policy, now).status());
  }
  ASSIGN_OR_RETURN(run, FindRunById(txn, run_id));
  if (!run) return NoSuchRun(run_id);
  return *std::move(run);
}

absl::Status MarkRunDeleted(WriteTxn& txn, int64_t run_id) {
  RETURN_IF_ERROR(txn.connection().Run("UPDATE runs SET deleted = 1 WHERE id = ?1", run_id));
  return txn.connection().changes() == 1 ? absl::OkStatus() : NoSuchRun(run_id);
}

absl::StatusOr<std::vector<RunRow>> ListRuns(ReadTxn& txn, const std::string& project,
                                             const std::string& prefix,
                                             const std::optional<ckpt::RunName>& after,
                                             uint32_t limit) {
  // Names are ASCII below DEL, so a prefix is a range.
  const std::string of_project = std::string(kSelectRun) + R"sql(
WHERE p.name = ?1 AND r.name >= ?2 AND r.name < ?2 || char(127) AND r.name > ?4 AND r.deleted = 0
ORDER BY r.name LIMIT ?5)sql";
  const std::string of_all = std::string(kSelectRun) + R"sql(
WHERE ?1 = '' AND r.name >= ?2 AND r.name < ?2 || char(127)
  AND p.name >= ?3 AND (p.name > ?3 OR r.name > ?4) AND r.deleted = 0
ORDER BY p.name, r.name LIMIT ?5)sql";
  ASSIGN_OR_RETURN(Statement rows,
                   txn.connection().Query(project.empty() ? of_all : of_project, project, prefix,
                                          after ? after->project : std::string(),
                                          after ? after->run : std::string(),
                                          limit == 0 ? int64_t{-1} : int64_t{limit}));
  std::vector<RunRow> runs;
  while (rows.Next()) {
    ASSIGN_OR_RETURN(RunRow run, ReadRun(rows));
    runs.push_back(std::move(run));
  }
  RETURN_IF_ERROR(rows.status());
  return runs;
}

absl::StatusOr<std::vector<int64_t>> ListRunIds(ReadTxn& txn) {
  ASSIGN_OR_RETURN(Statement rows,
                   txn.connection().Query("SELECT id FROM runs WHERE deleted = 0"));
  std::vector<int64_t> ids;
  while (rows.Next()) ids.push_back(rows.Int(0));
  RETURN_IF_ERROR(rows.status());
  return ids;
}

absl::StatusOr<uint64_t> SetRunPolicy(WriteTxn& txn, int64_t run_id,
                                      const std::optional<ckpt::Policy>& policy, absl::Time now) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const std::optional<int64_t> version, db.Integer(R"sql(
      UPDATE runs SET policy_version = policy_version + 1 WHERE id = ?1
      RETURNING policy_version)sql",
                                                                    run_id));
  if (!version) return NoSuchRun(run_id);
  std::string bytes;
  if (policy) {
    ckpt::Policy versioned = *policy;
    versioned.version = static_cast<uint64_t>(*version);
    bytes = ckpt::ToProto(versioned).SerializeAsString();
  }
  RETURN_IF_ERROR(
      db.Run("INSERT INTO policies (run_id, version, set_at, policy) VALUES (?1, ?2, ?3, ?4)",
             run_id, *version, now, policy ? std::optional<Blob>(Blob{bytes}) : std::nullopt));
  return static_cast<uint64_t>(*version);
}

absl::StatusOr<std::optional<AttemptRow>> FindAttempt(ReadTxn& txn, int64_t run_id,
                                                      uint64_t number) {
  const std::string sql = std::string(kSelectAttempt) + "WHERE run_id = ?1 AND number = ?2";
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, run_id, number));
  return FirstAttempt(std::move(rows));
}

absl::StatusOr<std::optional<AttemptRow>> FindAttemptByLaunch(ReadTxn& txn, int64_t run_id,
                                                              const std::string& launch_id) {
  const std::string sql = std::string(kSelectAttempt) +
                                 "WHERE run_id = ?1 AND launch_id = ?2 "
                                 "ORDER BY number DESC LIMIT 1";
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, run_id, launch_id));
  return FirstAttempt(std::move(rows));
}

absl::StatusOr<AttemptRow> InsertAttempt(WriteTxn& txn, int64_t run_id,
                                         const std::string& launch_id, uint32_t world_size,
                                         absl::Time now) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const std::optional<int64_t> number, db.Integer(R"sql(
      UPDATE runs SET newest_attempt = newest_attempt + 1 WHERE id = ?1
      RETURNING newest_attempt)sql",
                                                                   run_id));
  if (!number) return NoSuchRun(run_id);
  RETURN_IF_ERROR(db.Run(R"sql(
      INSERT INTO attempts (run_id, number, launch_id, world_size, opened_at)
      VALUES (?1, ?2, ?3, ?4, ?5))sql",
                         run_id, *number, launch_id, world_size, now));
  AttemptRow attempt;
  attempt.number = static_cast<uint64_t>(*number);
  attempt.launch_id = launch_id;
  attempt.world_size = world_size;
  attempt.opened_at = now;
  return attempt;
}

absl::Status SetAttemptResumedFrom(WriteTxn& txn, int64_t run_id, uint64_t number,
                                   uint64_t checkpoint_id) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const std::optional<int64_t> source, RunOfStart(db, checkpoint_id));
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE attempts SET resumed_from = ?3, resumed_from_run = ?4
      WHERE run_id = ?1 AND number = ?2)sql",
                         run_id, number, UnlessZero(checkpoint_id), source));
  return db.changes() == 1 ? absl::OkStatus() : NoSuchAttempt(number);
}

absl::Status SetAttemptTimeline(WriteTxn& txn, int64_t run_id, uint64_t number, uint32_t timeline) {
  Connection& db = txn.connection();
  RETURN_IF_ERROR(db.Run("UPDATE attempts SET timeline = ?3 WHERE run_id = ?1 AND number = ?2",
                         run_id, number, timeline));
  return db.changes() == 1 ? absl::OkStatus() : NoSuchAttempt(number);
}

absl::StatusOr<std::vector<ckpt::Timeline>> ListTimelines(ReadTxn& txn, int64_t run_id) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT number, forked_from, opened_at, reason FROM timelines
      WHERE run_id = ?1 ORDER BY number)sql",
                                                          run_id));
  std::vector<ckpt::Timeline> timelines;
  while (rows.Next()) {
    timelines.push_back({rows.Uint32(0), rows.Uint(1), rows.Time(2), rows.Text(3)});
  }
  RETURN_IF_ERROR(rows.status());
  return timelines;
}

absl::StatusOr<std::map<uint64_t, uint32_t>> ListForks(ReadTxn& txn, int64_t run_id) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT c.id, c.timeline
      FROM timelines AS t CROSS JOIN checkpoints AS c ON c.id = t.forked_from
      WHERE t.run_id = ?1 AND c.run_id = ?1)sql",
                                                          run_id));
  std::map<uint64_t, uint32_t> forks;
  while (rows.Next()) forks.emplace(rows.Uint(0), rows.Uint32(1));
  RETURN_IF_ERROR(rows.status());
  return forks;
}

absl::StatusOr<ckpt::Timeline> InsertTimeline(WriteTxn& txn, int64_t run_id, uint64_t forked_from,
                                              const std::string& reason, absl::Time now) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const std::optional<int64_t> source, RunOfStart(db, forked_from));
  ASSIGN_OR_RETURN(const std::optional<int64_t> last,
                   db.Integer("SELECT MAX(number) FROM timelines WHERE run_id = ?1", run_id));
  const ckpt::Timeline timeline{static_cast<uint32_t>(last.value_or(0) + 1), forked_from, now,
                                reason};
  RETURN_IF_ERROR(db.Run(R"sql(
      INSERT INTO timelines (run_id, number, opened_at, reason, forked_from, forked_from_run)
      VALUES (?1, ?2, ?3, ?4, ?5, ?6))sql",
                         run_id, timeline.number, now, reason, UnlessZero(forked_from), source));
  RETURN_IF_ERROR(
      db.Run("UPDATE runs SET current_timeline = ?2 WHERE id = ?1", run_id, timeline.number));
  return timeline;
}

}  // namespace ckptd::catalog
