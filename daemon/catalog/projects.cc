#include "daemon/catalog/projects.h"

#include <limits>
#include <utility>

#include "daemon/catalog/sqlite.h"

namespace ckptd::catalog {

namespace {

constexpr char kSelectProject[] = R"sql(
SELECT id, name, stored_bytes, budget, quota_bytes, quota_checkpoints, quota_uploads FROM projects
)sql";

absl::StatusOr<std::optional<ProjectRow>> FirstProject(Statement rows) {
  if (!rows.Next()) {
    RETURN_IF_ERROR(rows.status());
    return std::nullopt;
  }
  ProjectRow project;
  project.id = rows.Int(0);
  project.name = rows.Text(1);
  project.stored_bytes = rows.Uint(2);
  if (!rows.IsNull(3)) project.budget = rows.Uint(3);
  if (!rows.IsNull(4)) project.quota_bytes = rows.Uint(4);
  if (!rows.IsNull(5)) project.quota_checkpoints = rows.Uint(5);
  if (!rows.IsNull(6)) project.quota_uploads = rows.Uint(6);
  return project;
}

}  // namespace

absl::StatusOr<std::optional<ProjectRow>> FindProject(ReadTxn& txn, const std::string& name) {
  const std::string sql = std::string(kSelectProject) + "WHERE name = ?1";
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, name));
  return FirstProject(std::move(rows));
}

absl::StatusOr<std::optional<ProjectRow>> FindProjectById(ReadTxn& txn, int64_t project_id) {
  const std::string sql = std::string(kSelectProject) + "WHERE id = ?1";
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, project_id));
  return FirstProject(std::move(rows));
}

absl::Status SetProjectBudget(WriteTxn& txn, int64_t project_id, std::optional<uint64_t> budget) {
  return txn.connection().Run("UPDATE projects SET budget = ?2 WHERE id = ?1", project_id, budget);
}

absl::StatusOr<ProjectRow> CreateProject(WriteTxn& txn, const std::string& name) {
  RETURN_IF_ERROR(
      txn.connection().Run("INSERT INTO projects (name) VALUES (?1) ON CONFLICT DO NOTHING", name));
  ASSIGN_OR_RETURN(const std::optional<ProjectRow> project, FindProject(txn, name));
  if (project) return *project;
  return ckpt::MakeError(absl::StatusCode::kInternal, ckpt::reason::kInternal,
                         fmt::format("The catalog did not take project {}.", name));
}

absl::Status SetProjectQuota(WriteTxn& txn, const ProjectRow& project) {
  return txn.connection().Run(R"sql(
      UPDATE projects SET quota_bytes = ?2, quota_checkpoints = ?3, quota_uploads = ?4
      WHERE id = ?1)sql",
                              project.id, project.quota_bytes, project.quota_checkpoints,
                              project.quota_uploads);
}

absl::StatusOr<ProjectUse> GetProjectUse(ReadTxn& txn, int64_t project_id) {
  // What an older attempt left open can never be finished: it takes no place.
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT (SELECT SUM(checkpoints) FROM runs WHERE project_id = ?1),
             COUNT(DISTINCT c.row), COALESCE(SUM(s.durable = 0), 0)
      FROM checkpoints AS c
      JOIN shards AS s ON s.checkpoint_row = c.row
      JOIN runs AS r ON r.id = c.run_id
      WHERE c.id IS NULL AND r.project_id = ?1 AND c.attempt = r.newest_attempt)sql",
                                                          project_id));
  ProjectUse use;
  if (rows.Next()) use = {rows.Uint(0), rows.Uint(1), rows.Uint(2)};
  RETURN_IF_ERROR(rows.status());
  return use;
}

absl::StatusOr<std::vector<RunBytes>> ListRunBytes(ReadTxn& txn, int64_t project_id) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT id, bytes FROM runs WHERE project_id = ?1 AND deleted = 0 AND checkpoints > 0)sql",
                                                          project_id));
  std::vector<RunBytes> runs;
  while (rows.Next()) runs.push_back({rows.Int(0), rows.Uint(1)});
  RETURN_IF_ERROR(rows.status());
  return runs;
}

absl::StatusOr<std::vector<uint64_t>> ListRemovedHolding(ReadTxn& txn, int64_t project_id,
                                                         absl::Time due) {
  // Of all projects few are removed at a time: the partial index, then the run.
  ASSIGN_OR_RETURN(Statement rows,
                   txn.connection().Query(R"sql(
      SELECT c.id FROM checkpoints AS c CROSS JOIN runs AS r ON r.id = c.run_id
      WHERE c.reclaim_at >= ?2 AND c.reclaim_at <= ?3 AND r.project_id = ?1)sql",
                                          project_id, std::numeric_limits<int64_t>::min(), due));
  std::vector<uint64_t> ids;
  while (rows.Next()) ids.push_back(rows.Uint(0));
  RETURN_IF_ERROR(rows.status());
  return ids;
}

}  // namespace ckptd::catalog
