// Retention: a pure function from (policy, checkpoints, now) to a verdict with
// its reasons for each checkpoint. RETENTION semantics in README.md.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <absl/time/time.h>

#include "proto/model.h"

namespace ckptd::retention {

// What judging needs to know of one committed, not removed checkpoint.
struct Candidate {
  uint64_t id = 0;  // commit order
  uint32_t timeline = 1;
  uint64_t step = 0;
  absl::Time committed_at;
  uint64_t bytes = 0;
  ckpt::Metrics metrics;                  // NaN and infinity allowed, never ranked
  std::set<std::string> pending_metrics;  // announced at commit, not yet attached
  // Takes no slot; kept only by pin, alias, reference, lease, or while nothing
  // whole is newer.
  bool damaged = false;
  bool on_current_line = true;  // an ancestor-or-self of the current timeline's end
  std::set<std::string> pins;
  std::set<std::string> aliases;
  bool referenced = false;  // another run started from it
  bool leased = false;
};

// One verdict a candidate, in the candidates' order. Candidates may come in
// any order; ids are unique. `policy` has passed CheckPolicy. Properties
// (tests/unit/daemon/retention):
//  - the newest whole candidate on the current line is always kept, and where
//    that line has none, the newest whole one of the run;
//  - every verdict has at least one reason;
//  - judging what was kept again removes nothing;
//  - raising a count, a window or a budget never removes more.
// Never fails: nonsense in metrics or clocks leads to keeping.
std::vector<ckpt::Verdict> Judge(const ckpt::Policy& policy,
                                 const std::vector<Candidate>& candidates, absl::Time now);

// Ids of the ranked candidates, best first: whole ones with a finite value.
// Ties: the incumbent (lower id) first.
std::vector<uint64_t> RankByMetric(const std::vector<Candidate>& candidates,
                                   const std::string& metric, ckpt::MetricMode mode);

// Of each candidate its lowest rank among those that a best rule keeps; 0 where
// none does.
std::vector<uint32_t> BestRanks(const ckpt::Policy& policy,
                                const std::vector<Candidate>& candidates);

// When judging again could come out otherwise with no new commit (a metric's
// grace ends, a time in the future arrives). Nothing: never.
std::optional<absl::Time> NextChange(const ckpt::Policy& policy,
                                     const std::vector<Candidate>& candidates, absl::Time now);

}  // namespace ckptd::retention
