#include "daemon/store/line.h"

#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "proto/names.h"

namespace ckptd {
namespace {

using ckpt::Checkpoint;

std::string Name(const Checkpoint& checkpoint) {
  return fmt::format("step {} (id {})", checkpoint.step, checkpoint.id);
}

Selected Found(const Checkpoint& checkpoint, std::string why) {
  return {&checkpoint, &checkpoint, false, fmt::format("{}: {}", Name(checkpoint), why)};
}

// The newest whole checkpoint on the line with an id below `below`.
const Checkpoint* NewestWhole(const std::vector<Checkpoint>& checkpoints, const Line& line,
                              uint64_t below) {
  for (const Checkpoint& c : checkpoints) {
    if (c.id < below && c.damage.empty() && line.Contains(c.timeline, c.id)) return &c;
  }
  return nullptr;
}

// `named` itself when whole, else the newest whole one before it.
Selected WholeOrBefore(const Checkpoint& named, std::string why,
                       const std::vector<Checkpoint>& checkpoints, const Line& line) {
  if (named.damage.empty()) return Found(named, std::move(why));
  Selected instead;
  instead.named = &named;
  instead.fell_back = true;
  instead.checkpoint = NewestWhole(checkpoints, line, named.id);
  std::string damaged = fmt::format("{} is damaged ({})", Name(named), named.damage);
  instead.explanation =
      instead.checkpoint == nullptr
          ? damaged + ", and no whole checkpoint lies before it"
          : fmt::format("{}; {} is offered instead, the newest whole one before it", damaged,
                        Name(*instead.checkpoint));
  return instead;
}

bool Better(double a, double b, ckpt::MetricMode mode) {
  return mode == ckpt::MetricMode::kMin ? a < b : a > b;
}

Selected SelectBestOf(const ckpt::BestRule& rule, const std::vector<Checkpoint>& checkpoints) {
  const Checkpoint* best = nullptr;        // whole
  const Checkpoint* best_of_all = nullptr;  // damaged ones too
  // From the oldest, strictly better only: on a tie the incumbent stays.
  for (auto it = checkpoints.rbegin(); it != checkpoints.rend(); ++it) {
    auto metric = it->metrics.find(rule.metric);
    if (metric == it->metrics.end() || !std::isfinite(metric->second)) continue;
    auto beats = [&](const Checkpoint* other) {
      return other == nullptr || Better(metric->second, other->metrics.at(rule.metric), rule.mode);
    };
    if (beats(best_of_all)) best_of_all = &*it;
    if (it->damage.empty() && beats(best)) best = &*it;
  }
  if (best_of_all == nullptr) return {};
  Selected selected;
  selected.checkpoint = best;
  selected.named = best_of_all;
  selected.fell_back = best != best_of_all;
  if (selected.fell_back) {
    selected.explanation = fmt::format("{} is damaged ({}); ", Name(*best_of_all),
                                       best_of_all->damage);
  }
  selected.explanation +=
      best == nullptr ? fmt::format("no whole checkpoint has a {}", rule.metric)
                      : fmt::format("{}: best {} ({}, {})", Name(*best), rule.metric,
                                    best->metrics.at(rule.metric),
                                    rule.mode == ckpt::MetricMode::kMin ? "min" : "max");
  return selected;
}

}  // namespace

Line::Line(const std::vector<ckpt::Timeline>& timelines,
           const std::map<uint64_t, uint32_t>& fork_timelines, uint32_t current) {
  std::map<uint32_t, uint64_t> forked_from;
  for (const ckpt::Timeline& timeline : timelines) {
    forked_from[timeline.number] = timeline.forked_from;
  }
  uint64_t upto = std::numeric_limits<uint64_t>::max();
  // A timeline forks from a lower-numbered one; anything else ends the walk.
  for (uint32_t number = current; number != 0;) {
    newest_on_[number] = upto;
    upto = forked_from[number];
    auto parent = fork_timelines.find(upto);
    if (upto == 0 || parent == fork_timelines.end() || parent->second >= number) break;
    number = parent->second;
  }
}

bool Line::Contains(uint32_t timeline, uint64_t id) const {
  auto it = newest_on_.find(timeline);
  return it != newest_on_.end() && id <= it->second;
}

Selected Select(const ckpt::Selector& selector, const std::vector<Checkpoint>& checkpoints,
                const Line& line, const ckpt::Policy& policy) {
  if (std::holds_alternative<ckpt::SelectLatest>(selector)) {
    for (const Checkpoint& c : checkpoints) {
      if (!line.Contains(c.timeline, c.id)) continue;
      return WholeOrBefore(c, "newest commit on the current timeline", checkpoints, line);
    }
    return {};
  }
  if (const auto* best = std::get_if<ckpt::SelectBest>(&selector)) {
    for (const ckpt::BestRule& rule : policy.keep_best) {
      if (best->metric.empty() || rule.metric == best->metric) {
        return SelectBestOf(rule, checkpoints);
      }
    }
    Selected none;
    none.explanation = fmt::format("the policy ranks no metric{}{}, so its direction is not known",
                                   best->metric.empty() ? "" : " ", best->metric);
    return none;
  }
  const Checkpoint* match = nullptr;
  for (const Checkpoint& c : checkpoints) {
    if (const auto* step = std::get_if<ckpt::SelectStep>(&selector)) {
      if (c.step != step->step) continue;
      bool on_line = line.Contains(c.timeline, c.id);
      if (match == nullptr || on_line) match = &c;
      if (on_line) break;
    } else if (const auto* alias = std::get_if<ckpt::SelectAlias>(&selector)) {
      if (c.aliases.contains(alias->alias)) match = &c;
    } else if (c.id == std::get<ckpt::SelectId>(selector).id) {
      match = &c;
    }
  }
  if (match == nullptr) return {};
  return WholeOrBefore(*match, "named by " + ckpt::ToString(selector), checkpoints, line);
}

}  // namespace ckptd
