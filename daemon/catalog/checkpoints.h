// Checkpoints with their metrics, pins and aliases; shards with their
// manifests.
//
// A checkpoint's row is there from the first shard's upload; it is committed
// when `committed_at` is set, from which moment it is listed. Ids are given in
// commit order: an open row gets its id at commit, so its key is `row`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "proto/model.h"

namespace ckptd::catalog {

struct ListFilter {
  bool include_removed = false;
  std::optional<uint64_t> min_step, max_step;
  uint32_t timeline = 0;  // 0: all
  bool pinned_only = false;
  uint64_t before_id = 0;  // 0: from the newest; else ids below it
  uint32_t limit = 0;      // 0: all
};

// Committed checkpoints of a run, newest commit first, everything but
// `verdict` filled; a removed one has its tombstone's verdict.
absl::StatusOr<std::vector<ckpt::Checkpoint>> ListCheckpoints(ReadTxn& txn, int64_t run_id,
                                                              const ListFilter& filter);
absl::StatusOr<std::optional<ckpt::Checkpoint>> FindCheckpoint(ReadTxn& txn, uint64_t id);
// Newest commit of a step, on `timeline` (0: any).
absl::StatusOr<std::optional<ckpt::Checkpoint>> FindByStep(ReadTxn& txn, int64_t run_id,
                                                           uint64_t step, uint32_t timeline,
                                                           bool include_removed);
// All of a step that are not removed, newest commit first.
absl::StatusOr<std::vector<ckpt::Checkpoint>> ListByStep(ReadTxn& txn, int64_t run_id,
                                                         uint64_t step);
absl::StatusOr<std::optional<ckpt::Checkpoint>> FindByAlias(ReadTxn& txn, int64_t run_id,
                                                            const std::string& alias);
absl::StatusOr<int64_t> RunIdOf(ReadTxn& txn, uint64_t checkpoint_id);

struct RunFigures {
  uint64_t checkpoints = 0, removed = 0, bytes = 0;
};
absl::StatusOr<RunFigures> GetRunFigures(ReadTxn& txn, int64_t run_id);

// Tombstone with its reasons. Pins and aliases must be gone; metrics stay.
absl::Status MarkRemoved(WriteTxn& txn, uint64_t id, const std::vector<ckpt::Reason>& reasons,
                         absl::Time now, std::optional<absl::Time> restorable_until);
absl::Status MarkRestored(WriteTxn& txn, uint64_t id);
// Empty text: whole again. Of what lies damaged on disk, see SetDamageOnDisk
// (damage.h).
absl::Status SetDamage(WriteTxn& txn, uint64_t id, const std::string& damage);
absl::Status SetMetrics(WriteTxn& txn, uint64_t id, const ckpt::Metrics& metrics);

// OK also when the pin is there already.
absl::Status AddPin(WriteTxn& txn, uint64_t id, const std::string& name, absl::Time now);
absl::StatusOr<bool> RemovePin(WriteTxn& txn, uint64_t id, const std::string& name);
// Moves the alias if another checkpoint of the run has it; returns that one's
// id, or 0.
absl::StatusOr<uint64_t> SetAlias(WriteTxn& txn, int64_t run_id, const std::string& alias,
                                  uint64_t id, absl::Time now);
absl::StatusOr<bool> RemoveAlias(WriteTxn& txn, int64_t run_id, const std::string& alias);

// Ids of the run's checkpoints that another run's start names. (A timeline
// of the run's own needs no hold on where it forked: until it has a commit
// of its own that is `latest` and the floor, and afterwards history.)
absl::StatusOr<std::vector<uint64_t>> ListReferenced(ReadTxn& txn, int64_t run_id);

// A committed checkpoint's manifest; nothing when it has no such rank.
// DATA_LOSS/MANIFEST_DAMAGED as GetUploadManifest.
absl::StatusOr<std::optional<ckpt::Manifest>> FindManifest(ReadTxn& txn, uint64_t id,
                                                           uint32_t rank);

// Committed and removed checkpoints whose grace is over and whose space was
// not given back yet.
absl::StatusOr<std::vector<uint64_t>> ListReclaimable(ReadTxn& txn, absl::Time now);
// The earliest restorable_until still in the future.
absl::StatusOr<std::optional<absl::Time>> NextReclaimable(ReadTxn& txn, absl::Time now);

}  // namespace ckptd::catalog
