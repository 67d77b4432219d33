// A budget across runs: in which order a project's checkpoints are given when
// they take more together than it may. Pure, but for the runs' verdicts, which
// are asked for as they are needed: of thousands of runs a few give.
//
// Fair by size: the run whose checkpoints are the largest in sum gives next, so
// large runs come down to the level of the others before those lose anything;
// of equal ones the older run. A run gives first what is no best by a metric,
// the older first, then its lesser bests; its best (#1) only once no run has
// anything else. What more than a rule keeps is never given.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "proto/model.h"
#include "proto/status.h"

namespace ckptd::retention {

// What a run's checkpoints take, shared bytes counted each time.
struct Share {
  int64_t run = 0;
  uint64_t bytes = 0;
};

// A checkpoint that its run's rules keep.
struct Kept {
  uint64_t id = 0;
  uint64_t bytes = 0;
  uint32_t best_rank = 0;  // the lowest among the best that are kept; 0: no best
  ckpt::Verdict verdict;
};

// Whether rules alone keep it, so that it can be given.
bool IsGivable(const ckpt::Verdict& verdict);

class Giving {
 public:
  // The checkpoints of the run that its rules keep. Asked at most once a run.
  using Judge = std::function<absl::StatusOr<std::vector<Kept>>(int64_t run)>;
  Giving(const std::vector<Share>& shares, Judge judge);

  // The next to be given; nothing: nobody has any more. Fails as `judge` does.
  struct Gift {
    int64_t run = 0;
    Kept checkpoint;
  };
  absl::StatusOr<std::optional<Gift>> Next();

 private:
  struct Giver {
    uint64_t bytes = 0;  // that it would still take
    bool judged = false;
    std::vector<Kept> ordinary, bests;  // the last is the next to go
  };
  absl::Status LetJudge(int64_t run, Giver& giver);

  const Judge judge_;
  std::unordered_map<int64_t, Giver> givers_;
  // Largest first: by (bytes, run), runs negated so that the older comes first.
  std::set<std::tuple<uint64_t, int64_t>> order_;
  bool bests_too_ = false;
};

}  // namespace ckptd::retention
