// Answers selectors from the catalog, reading of a run's checkpoints only those
// that the answer depends on: line.h computes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/runs.h"
#include "daemon/store/line.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckptd {

absl::StatusOr<Line> LoadLine(catalog::ReadTxn& txn, const catalog::RunRow& run);

// Of the run's checkpoints that are not removed, newest first: those with ids
// below `below` (0: all) down to the first whole one on the line; all where
// there is none.
absl::StatusOr<std::vector<ckpt::Checkpoint>> ListDownToWhole(catalog::ReadTxn& txn,
                                                              int64_t run_id, const Line& line,
                                                              uint64_t below);

// As Selected (line.h).
struct Selection {
  std::optional<ckpt::Checkpoint> checkpoint;
  bool fell_back = false;
  std::string explanation;
};
absl::StatusOr<Selection> SelectIn(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                   const ckpt::Selector& selector, const ckpt::Policy& policy);

}  // namespace ckptd
