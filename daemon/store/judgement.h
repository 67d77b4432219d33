// Retention applied to a run: asks the catalog, judges by the pure policy,
// writes tombstones. Planning and execution are the same function's answer, so
// a dry run never differs from the real one.
#pragma once

#include <optional>
#include <vector>

#include <absl/time/time.h>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/runs.h"
#include "daemon/store/leases.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckptd {

struct Judgement {
  std::vector<ckpt::Checkpoint> checkpoints;  // newest first, verdicts filled
  std::vector<uint32_t> best_ranks;           // of each, as retention::BestRanks
  std::optional<absl::Time> next_change;      // when to judge again without a commit
};

// What the policy says of the run's committed, not removed checkpoints.
absl::StatusOr<Judgement> JudgeRun(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                   const ckpt::Policy& policy, const Leases& leases,
                                   absl::Time now);

// The same of `some` of them; others may be in the answer too. A policy without
// rules ranks nothing and lets nothing go: then the rest of a long history is not
// read.
absl::StatusOr<Judgement> JudgeSome(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                    const ckpt::Policy& policy, const Leases& leases,
                                    absl::Time now, std::vector<ckpt::Checkpoint> some);

// Tombstones for what `judgement` does not keep. Returns how many.
absl::StatusOr<int> RemoveJudged(catalog::WriteTxn& txn, const catalog::RunRow& run,
                                 const ckpt::Policy& policy, const Judgement& judgement,
                                 absl::Time now);

// Removes one checkpoint with its reasons: pins and aliases go, a tombstone
// and an event stay. `policy.restore_grace` says whether it can come back.
absl::Status RemoveCheckpoint(catalog::WriteTxn& txn, const catalog::RunRow& run,
                              const ckpt::Policy& policy, const ckpt::Checkpoint& checkpoint,
                              const std::vector<ckpt::Reason>& reasons, absl::Time now);

}  // namespace ckptd
