// Projects and their budgets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/catalog/catalog.h"

namespace ckptd::catalog {

struct ProjectRow {
  int64_t id = 0;
  std::string name;
  uint64_t stored_bytes = 0;  // of its chunks, those included that removed checkpoints still hold
  std::optional<uint64_t> budget;  // bytes; 0: none; absent: the daemon's default
};

// Nothing for a project that never had a run.
absl::StatusOr<std::optional<ProjectRow>> FindProject(ReadTxn& txn, const std::string& name);
absl::StatusOr<std::optional<ProjectRow>> FindProjectById(ReadTxn& txn, int64_t project_id);
absl::Status SetProjectBudget(WriteTxn& txn, int64_t project_id, std::optional<uint64_t> budget);

// What the checkpoints of each of its runs take that are not removed; runs
// without any are left out.
struct RunBytes {
  int64_t run_id = 0;
  uint64_t bytes = 0;
};
absl::StatusOr<std::vector<RunBytes>> ListRunBytes(ReadTxn& txn, int64_t project_id);

// Ids of its checkpoints that are removed and hold their chunks still.
absl::StatusOr<std::vector<uint64_t>> ListRemovedHolding(ReadTxn& txn, int64_t project_id);

}  // namespace ckptd::catalog
