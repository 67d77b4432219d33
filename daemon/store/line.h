// The line of checkpoints that a run follows, and how a selector is answered
// from it. Pure: works on what the catalog returned.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "proto/model.h"

namespace ckptd {

// A run's timelines and where each came from.
class Line {
 public:
  // `fork_timelines`: for each checkpoint id that a timeline was forked from,
  // the timeline it lies on (0 or absent: another run's).
  Line(const std::vector<ckpt::Timeline>& timelines,
       const std::map<uint64_t, uint32_t>& fork_timelines, uint32_t current);

  // Whether a checkpoint with this id on this timeline is an ancestor of, or
  // lies at, the current timeline's end.
  bool Contains(uint32_t timeline, uint64_t id) const;

 private:
  std::map<uint32_t, uint64_t> newest_on_;  // timeline -> highest id that is on the line
};

struct Selected {
  const ckpt::Checkpoint* checkpoint = nullptr;  // nullptr: nothing matches
  const ckpt::Checkpoint* named = nullptr;       // what matched, also when it is damaged
  bool fell_back = false;      // what was named is damaged; this is instead of it
  std::string explanation;     // why this one; which one was damaged and how
};

// `checkpoints`: those of the run, newest first, none removed. A damaged one
// that is named is answered by the newest whole one before it on the line.
// For `best` without a metric the policy's first rule is meant; a metric that
// no rule of the policy ranks matches nothing (its mode is not known).
Selected Select(const ckpt::Selector& selector, const std::vector<ckpt::Checkpoint>& checkpoints,
                const Line& line, const ckpt::Policy& policy);

}  // namespace ckptd
