#include "daemon/retention/policy.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "daemon/retention/calendar.h"
#include "daemon/retention/text.h"

namespace ckptd::retention {
namespace {

using ckpt::BestRule;
using ckpt::Policy;
using ckpt::Verdict;
using Rule = ckpt::Reason::Rule;

struct CalendarRule {
  Period period;
  std::optional<uint32_t> count;
};

std::vector<CalendarRule> CalendarRules(const Policy& policy) {
  return {{Period::kHour, policy.keep_hourly},
          {Period::kDay, policy.keep_daily},
          {Period::kWeek, policy.keep_weekly},
          {Period::kMonth, policy.keep_monthly},
          {Period::kYear, policy.keep_yearly}};
}

bool HasTimeRule(const Policy& policy) {
  const auto rules = CalendarRules(policy);
  return policy.keep_within.has_value() ||
         std::any_of(rules.begin(), rules.end(), [](const auto& r) { return r.count.has_value(); });
}

bool WasAnnounced(const Candidate& c, const std::string& metric) {
  return c.pending_metrics.count(metric) != 0 && c.metrics.count(metric) == 0;
}

// Until when `c` waits for a metric that `rule` ranks by; nothing: it does not.
std::optional<absl::Time> AwaitedUntil(const Policy& policy, const BestRule& rule,
                                       const Candidate& c, absl::Time now) {
  if (c.damaged || !WasAnnounced(c, rule.metric)) return std::nullopt;
  const absl::Time until = c.committed_at + policy.metric_grace;
  if (now >= until) return std::nullopt;
  return until;
}

// One judging: every rule either keeps or lets go each whole candidate, and
// says so; whoever nothing kept goes, with what the rules said.
class Judging {
 public:
  Judging(const Policy& policy, const std::vector<Candidate>& candidates, absl::Time now)
      : policy_(policy),
        candidates_(candidates),
        now_(now),
        kept_(candidates.size()),
        let_go_(candidates.size()) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (!candidates[i].damaged) whole_.push_back(i);
    }
    std::sort(whole_.begin(), whole_.end(),
              [&](size_t a, size_t b) { return candidates[a].id > candidates[b].id; });
  }

  std::vector<Verdict> Run() && {
    KeepFloor();
    if (policy_.keep_last) KeepLast(*policy_.keep_last);
    for (const BestRule& rule : policy_.keep_best) KeepBest(rule);
    if (policy_.keep_every_steps) KeepEverySteps(*policy_.keep_every_steps);
    if (policy_.keep_within) KeepWithin(*policy_.keep_within);
    for (const auto& [period, count] : CalendarRules(policy_)) {
      if (count) KeepCalendar(period, *count);
    }
    if (policy_.keep_bytes) KeepBytes(*policy_.keep_bytes);
    KeepNamed();
    KeepAwaiting();
    KeepUnjudged();
    return std::move(*this).Verdicts();
  }

 private:
  void Keep(size_t i, Rule rule, std::string text) { kept_[i].push_back({rule, std::move(text)}); }
  void LetGo(size_t i, std::string text) {
    let_go_[i].push_back({Rule::kSuperseded, std::move(text)});
  }
  // By a clock that cannot be right: takes no part in the rules that ask when.
  bool IsFromFuture(size_t i) const { return candidates_[i].committed_at > now_; }

  void KeepFloor() {
    for (size_t i : whole_) {
      if (candidates_[i].on_current_line) {
        return Keep(i, Rule::kNewest, "newest on the current timeline");
      }
    }
    // A run never loses its last whole checkpoint, wherever that lies.
    if (!whole_.empty()) {
      Keep(whole_.front(), Rule::kNewest, "newest of the run, none is on the current timeline");
    }
  }

  void KeepLast(uint32_t count) {
    for (size_t rank = 1; rank <= whole_.size(); ++rank) {
      const size_t i = whole_[rank - 1];
      if (rank <= count) {
        Keep(i, Rule::kLast, fmt::format("last {}/{}", rank, count));
      } else {
        LetGo(i, fmt::format("not among the last {} (is #{})", count, rank));
      }
    }
  }

  void KeepBest(const BestRule& rule) {
    const std::vector<uint64_t> ranked = RankByMetric(candidates_, rule.metric, rule.mode);
    std::unordered_map<uint64_t, size_t> rank_of;
    for (size_t r = 0; r < ranked.size(); ++r) rank_of[ranked[r]] = r + 1;
    for (size_t i : whole_) {
      const Candidate& c = candidates_[i];
      if (const auto rank = rank_of.find(c.id); rank == rank_of.end()) {
        LetGo(i, WhyUnranked(rule, c));
      } else if (rank->second <= rule.count) {
        Keep(i, Rule::kBest, fmt::format("best {} #{}", rule.metric, rank->second));
      } else {
        LetGo(i, fmt::format("not among the best {} by {} (is #{})", rule.count, rule.metric,
                             rank->second));
      }
    }
  }

  std::string WhyUnranked(const BestRule& rule, const Candidate& c) const {
    if (const auto value = c.metrics.find(rule.metric); value != c.metrics.end()) {
      if (std::isfinite(value->second)) return fmt::format("{} has no direction", rule.metric);
      if (std::isnan(value->second)) return fmt::format("{} is nan: not ranked", rule.metric);
      return fmt::format("{} is {}: not ranked", rule.metric, value->second);
    }
    if (WasAnnounced(c, rule.metric)) {
      return fmt::format("has no {} to rank (awaited until {})", rule.metric,
                         FormatUtc(c.committed_at + policy_.metric_grace));
    }
    return fmt::format("has no {} to rank", rule.metric);
  }

  // The grid is the positive multiples of `every`. Timelines have a grid each:
  // the same step on two of them is not the same state.
  void KeepEverySteps(uint64_t every) {
    struct Nearest {
      size_t index;
      uint64_t distance;
    };
    std::map<std::pair<uint32_t, uint64_t>, Nearest> grid;  // by timeline, grid point
    const auto offer = [&](size_t i, uint64_t point, uint64_t distance) {
      // whole_ is newest first, so of equally near ones the later commit is in already.
      const auto [at, is_new] = grid.try_emplace({candidates_[i].timeline, point},
                                                      Nearest{i, distance});
      if (!is_new && distance < at->second.distance) at->second = {i, distance};
    };
    for (size_t i : whole_) {
      const uint64_t step = candidates_[i].step;
      const uint64_t past = step % every, below = step - past, to_next = every - past;
      // Half-way between two points a checkpoint stands for either.
      if (below > 0 && past <= to_next) offer(i, below, past);
      if (to_next <= past && step <= UINT64_MAX - to_next) offer(i, step + to_next, to_next);
    }
    std::vector<bool> is_nearest(candidates_.size());
    for (const auto& [key, nearest] : grid) {
      is_nearest[nearest.index] = true;
      Keep(nearest.index, Rule::kEverySteps, fmt::format("every {} steps ({})", every, key.second));
    }
    for (size_t i : whole_) {
      if (!is_nearest[i]) LetGo(i, fmt::format("not nearest to a multiple of {}", every));
    }
  }

  // Counted from the newest commit, not from now: an idle run loses nothing.
  void KeepWithin(absl::Duration window) {
    const auto anchor =
        std::find_if(whole_.begin(), whole_.end(), [&](size_t i) { return !IsFromFuture(i); });
    if (anchor == whole_.end()) return;
    const absl::Time since = candidates_[*anchor].committed_at - window;
    const std::string text = absl::FormatDuration(window);
    for (size_t i : whole_) {
      if (IsFromFuture(i)) continue;
      if (candidates_[i].committed_at >= since) {
        Keep(i, Rule::kWithin, fmt::format("within {} of the newest", text));
      } else {
        LetGo(i, fmt::format("older than {} before the newest", text));
      }
    }
  }

  // Buckets are met in commit order, so the newest commit is in the first one
  // even if the clock was set back; empty ones are not counted.
  void KeepCalendar(Period period, uint32_t count) {
    const PeriodName& name = NameOf(period);
    std::set<std::string> buckets;
    for (size_t i : whole_) {
      if (IsFromFuture(i)) continue;
      const std::string bucket = BucketOf(period, candidates_[i].committed_at);
      if (buckets.size() < count && buckets.insert(bucket).second) {
        Keep(i, name.rule,
             fmt::format("{} {} ({}/{})", name.adjective, bucket, buckets.size(), count));
      } else {
        LetGo(i, fmt::format("not the newest of its {}, or past the last {}", name.noun, count));
      }
    }
  }

  // The newest that fit together: what comes after the first that does not fit
  // goes, however small, so that no hole opens in the recent history.
  void KeepBytes(uint64_t budget) {
    uint64_t left = budget;
    bool fits = true;
    for (size_t i : whole_) {
      const uint64_t bytes = candidates_[i].bytes;
      const bool is_newest = i == whole_.front();
      fits = is_newest || (fits && bytes <= left);
      if (fits) {
        left -= std::min(left, bytes);
        Keep(i, Rule::kBytes, fmt::format("within the newest {}", FormatBytes(budget)));
      } else {
        LetGo(i, fmt::format("past the newest {}", FormatBytes(budget)));
      }
    }
  }

  // What somebody names or reads stays, damaged or not.
  void KeepNamed() {
    for (size_t i = 0; i < candidates_.size(); ++i) {
      const Candidate& c = candidates_[i];
      for (const std::string& pin : c.pins) Keep(i, Rule::kPinned, "pinned: " + pin);
      for (const std::string& alias : c.aliases) Keep(i, Rule::kAliased, "aliased: " + alias);
      if (c.referenced) Keep(i, Rule::kReferenced, "referenced by another run");
      if (c.leased) Keep(i, Rule::kLeased, "leased by a reader");
    }
  }

  void KeepAwaiting() {
    for (size_t i : whole_) {
      for (const BestRule& rule : policy_.keep_best) {
        if (const auto until = AwaitedUntil(policy_, rule, candidates_[i], now_)) {
          Keep(i, Rule::kAwaitingMetric,
               fmt::format("awaiting metric {} until {}", rule.metric, FormatUtc(*until)));
        }
      }
    }
  }

  void KeepUnjudged() {
    const bool has_rules = policy_.has_rules(), has_time_rule = HasTimeRule(policy_);
    for (size_t i = 0; i < candidates_.size(); ++i) {
      const Candidate& c = candidates_[i];
      if (!has_rules) {
        Keep(i, Rule::kNoRules, "no rules: everything is kept");
      } else if (c.damaged && whole_.empty()) {
        Keep(i, Rule::kDamaged, "damaged: kept, nothing whole to fall back on");
      } else if (c.damaged && c.id > candidates_[whole_.front()].id) {
        // A job that dies for reasons of its own must not take the newest with it.
        Keep(i, Rule::kDamaged, "damaged: kept until a newer commit");
      } else if (!c.damaged && has_time_rule && IsFromFuture(i)) {
        Keep(i, Rule::kClock,
             fmt::format("committed in the future ({}): kept until the clock is there",
                         FormatUtc(c.committed_at)));
      }
    }
  }

  std::vector<Verdict> Verdicts() && {
    std::vector<Verdict> verdicts(candidates_.size());
    for (size_t i = 0; i < candidates_.size(); ++i) {
      Verdict& verdict = verdicts[i];
      verdict.keep = !kept_[i].empty();
      if (verdict.keep) {
        verdict.reasons = std::move(kept_[i]);
      } else if (candidates_[i].damaged) {
        verdict.reasons = {{Rule::kDamaged, "damaged: takes no part in the rules"}};
      } else {
        verdict.reasons = std::move(let_go_[i]);
      }
    }
    return verdicts;
  }

  const Policy& policy_;
  const std::vector<Candidate>& candidates_;
  const absl::Time now_;
  std::vector<size_t> whole_;  // indices of candidates, newest commit first
  std::vector<std::vector<ckpt::Reason>> kept_, let_go_;  // one each candidate
};

}  // namespace

std::vector<Verdict> Judge(const Policy& policy, const std::vector<Candidate>& candidates,
                           absl::Time now) {
  return Judging(policy, candidates, now).Run();
}

std::vector<uint64_t> RankByMetric(const std::vector<Candidate>& candidates,
                                   const std::string& metric, ckpt::MetricMode mode) {
  if (mode == ckpt::MetricMode::kUnspecified) return {};
  const double sign = mode == ckpt::MetricMode::kMax ? -1 : 1;
  std::vector<std::pair<double, uint64_t>> ranked;  // of equal values the lower id is first
  for (const Candidate& c : candidates) {
    const auto value = c.metrics.find(metric);
    if (c.damaged || value == c.metrics.end() || !std::isfinite(value->second)) continue;
    ranked.emplace_back(sign * value->second, c.id);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<uint64_t> ids;
  ids.reserve(ranked.size());
  for (const auto& [value, id] : ranked) ids.push_back(id);
  return ids;
}

std::vector<uint32_t> BestRanks(const Policy& policy, const std::vector<Candidate>& candidates) {
  std::unordered_map<uint64_t, uint32_t> rank_of;
  for (const BestRule& rule : policy.keep_best) {
    const std::vector<uint64_t> ranked = RankByMetric(candidates, rule.metric, rule.mode);
    const size_t kept = std::min<size_t>(ranked.size(), rule.count);
    for (uint32_t i = 0; i < kept; ++i) {
      uint32_t& rank = rank_of.try_emplace(ranked[i], i + 1).first->second;
      rank = std::min(rank, i + 1);
    }
  }
  std::vector<uint32_t> ranks;
  ranks.reserve(candidates.size());
  for (const Candidate& c : candidates) {
    const auto rank = rank_of.find(c.id);
    ranks.push_back(rank == rank_of.end() ? 0 : rank->second);
  }
  return ranks;
}

std::optional<absl::Time> NextChange(const Policy& policy, const std::vector<Candidate>& candidates,
                                     absl::Time now) {
  absl::Time next = absl::InfiniteFuture();
  const bool has_time_rule = HasTimeRule(policy);
  for (const Candidate& c : candidates) {
    if (c.damaged) continue;
    if (has_time_rule && c.committed_at > now) next = std::min(next, c.committed_at);
    for (const BestRule& rule : policy.keep_best) {
      if (const auto until = AwaitedUntil(policy, rule, c, now)) next = std::min(next, *until);
    }
  }
  if (next == absl::InfiniteFuture()) return std::nullopt;
  return next;
}

}  // namespace ckptd::retention
