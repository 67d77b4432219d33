// Projects, their budgets and quotas.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <absl/time/time.h>

#include "daemon/catalog/catalog.h"

namespace ckptd::catalog {

struct ProjectRow {
  int64_t id = 0;
  std::string name;
  uint64_t stored_bytes = 0;  // of its chunks, those included that removed checkpoints still hold
  std::optional<uint64_t> budget;  // bytes; 0: none; absent: the daemon's default
  // Likewise.
  std::optional<uint64_t> quota_bytes, quota_checkpoints, quota_uploads;
};

// Nothing for a project that never had a run.
absl::StatusOr<std::optional<ProjectRow>> FindProject(ReadTxn& txn, const std::string& name);
absl::StatusOr<std::optional<ProjectRow>> FindProjectById(ReadTxn& txn, int64_t project_id);
absl::Status SetProjectBudget(WriteTxn& txn, int64_t project_id, std::optional<uint64_t> budget);

// The one that is there, or a new one.
absl::StatusOr<ProjectRow> CreateProject(WriteTxn& txn, const std::string& name);
// All three as `project` has them.
absl::Status SetProjectQuota(WriteTxn& txn, const ProjectRow& project);

struct ProjectUse {
  uint64_t checkpoints = 0;       // committed, not removed
  uint64_t open_checkpoints = 0;  // of their run's newest attempt, not committed
  uint64_t uploads = 0;           // of those, shards that are not durable yet
};
absl::StatusOr<ProjectUse> GetProjectUse(ReadTxn& txn, int64_t project_id);

// What the checkpoints of each of its runs take that are not removed; runs
// without any are left out.
struct RunBytes {
  int64_t run_id = 0;
  uint64_t bytes = 0;
};
absl::StatusOr<std::vector<RunBytes>> ListRunBytes(ReadTxn& txn, int64_t project_id);

// Ids of its checkpoints that are removed and hold their chunks still; only those
// whose space is to be given back by `due`.
absl::StatusOr<std::vector<uint64_t>> ListRemovedHolding(ReadTxn& txn, int64_t project_id,
                                                         absl::Time due = absl::InfiniteFuture());

}  // namespace ckptd::catalog
