#include "daemon/catalog/projects.h"

#include <limits>
#include <utility>

#include "daemon/catalog/sqlite.h"

namespace ckptd::catalog {

namespace {

constexpr char kSelectProject[] = "SELECT id, name, stored_bytes, budget FROM projects ";

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
  return project;
}

}  // namespace

absl::StatusOr<std::optional<ProjectRow>> FindProject(ReadTxn& txn, const std::string& name) {
  static const std::string sql = std::string(kSelectProject) + "WHERE name = ?1";
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, name));
  return FirstProject(std::move(rows));
}

absl::StatusOr<std::optional<ProjectRow>> FindProjectById(ReadTxn& txn, int64_t project_id) {
  static const std::string sql = std::string(kSelectProject) + "WHERE id = ?1";
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, project_id));
  return FirstProject(std::move(rows));
}

absl::Status SetProjectBudget(WriteTxn& txn, int64_t project_id, std::optional<uint64_t> budget) {
  return txn.connection().Run("UPDATE projects SET budget = ?2 WHERE id = ?1", project_id, budget);
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

absl::StatusOr<std::vector<uint64_t>> ListRemovedHolding(ReadTxn& txn, int64_t project_id) {
  // Of all projects few are removed at a time: the partial index, then the run.
  ASSIGN_OR_RETURN(Statement rows,
                   txn.connection().Query(R"sql(
      SELECT c.id FROM checkpoints AS c CROSS JOIN runs AS r ON r.id = c.run_id
      WHERE c.reclaim_at >= ?2 AND r.project_id = ?1)sql",
                                          project_id, std::numeric_limits<int64_t>::min()));
  std::vector<uint64_t> ids;
  while (rows.Next()) ids.push_back(rows.Uint(0));
  RETURN_IF_ERROR(rows.status());
  return ids;
}

}  // namespace ckptd::catalog
