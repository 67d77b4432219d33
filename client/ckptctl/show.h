// Tables of checkpoints, for the verbs that show them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <absl/time/time.h>

#include "client/client.h"
#include "proto/model.h"

namespace ckpt::ctl {

// A row a checkpoint with STEP, AGE, SIZE, metrics and WHY. Columns that would
// be empty or the same in all rows (timeline, names) are left out.
std::string CheckpointTable(std::span<const Checkpoint> checkpoints, const Policy& policy,
                            absl::Time now);

// What a pruning does or would do: the removed ones with the reason, what
// stays, and the space. `dry_run` chooses the words.
std::string PruneText(const PruneResult& result, bool dry_run, absl::Time now);
// How many of the result go away.
size_t Removed(const PruneResult& result);

// "[2, 10]", "scalar", "-" for opaque bytes.
std::string ShapeText(const Entry& entry);

// "val_loss=1.25 acc=0.9", "" for none.
std::string MetricsText(const Metrics& metrics);

// What the scrub is doing and has found: in lines, and in one.
std::string ScrubText(const Scrub& scrub);
std::string ScrubLine(const Scrub& scrub, absl::Time now);

}  // namespace ckpt::ctl
