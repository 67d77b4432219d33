// Makes the data directory of a daemon that has run for long: many runs, many
// checkpoints, most of them removed since, as retention leaves them.
#pragma once

#include <cstdint>
#include <string>

#include "proto/model.h"
#include "proto/status.h"

namespace ckptd::bench {

struct HistoryShape {
  uint32_t runs = 10;
  uint32_t checkpoints = 100;  // of each run
};

// Of each four runs the last keeps everything; the others have the default
// policy, by which 4 checkpoints of each are left.
ckpt::RunName RunOf(uint32_t index);
bool KeepsAll(uint32_t index);
// The step that is best by val_loss, in every run.
inline constexpr uint64_t kBestStep = 1000;
// Of one checkpoint to the next.
inline constexpr uint64_t kStepsBetween = 100;

// A shard of `chunks` chunks in entries of four, none the same in another
// (run, step) but the first two, which are the same in all steps of the run.
ckpt::Manifest ManifestOf(uint32_t run, uint64_t step, uint32_t chunks);
// What lies in chunk `index` of that: so small that only metadata is measured.
std::string BytesOf(uint32_t run, uint64_t step, uint32_t index);

// Through the catalog's own functions, with every row that pushing, resuming,
// removing and reclaiming leaves; packs are empty files. Does nothing where the
// directory is there already.
absl::Status MakeHistory(const std::string& data_dir, const HistoryShape& shape);

}  // namespace ckptd::bench
