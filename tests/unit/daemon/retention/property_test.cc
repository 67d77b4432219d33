// What holds for every history and every policy, over random ones. A failure
// prints the seed and the case as text.
#include <algorithm>
#include <limits>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "tests/unit/daemon/retention/history.h"

namespace ckptd::retention {
namespace {

constexpr uint64_t kSeeds = 6000;

class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}
  uint64_t Below(uint64_t end) { return engine_() % end; }
  uint64_t Between(uint64_t first, uint64_t last) { return first + Below(last - first + 1); }
  bool Percent(uint64_t percent) { return Below(100) < percent; }
  std::mt19937_64& engine() { return engine_; }

 private:
  std::mt19937_64 engine_;
};

double RandomMetric(Dice& dice) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  switch (dice.Below(12)) {
    case 0:
      return std::numeric_limits<double>::quiet_NaN();
    case 1:
      return kInfinity;
    case 2:
      return -kInfinity;
    default:
      return static_cast<double>(dice.Below(8)) - 3;  // few values, so many ties
  }
}

// Commits with restarts at older steps, clock jumps both ways, damage.
std::vector<Candidate> RandomHistory(Dice& dice) {
  std::vector<Candidate> history;
  const uint64_t size = dice.Below(40);
  absl::Time clock = Noon() - absl::Hours(dice.Between(1, 2000));
  uint64_t id = 0, step = 0;
  uint32_t timeline = 1;
  for (uint64_t n = 0; n < size; ++n) {
    clock += absl::Minutes(dice.Percent(10) ? dice.Below(20000) : dice.Below(300));
    if (dice.Percent(4)) clock -= absl::Hours(dice.Below(500));
    if (dice.Percent(8)) {
      step = dice.Below(step + 1);
      ++timeline;
    }
    step += dice.Between(1, 40);
    Candidate c;
    c.id = id += dice.Between(1, 3);
    c.step = step;
    c.timeline = timeline;
    c.committed_at = clock;
    c.bytes = dice.Percent(10) ? 0 : dice.Between(1, 100);
    if (dice.Percent(75)) c.metrics["loss"] = RandomMetric(dice);
    if (dice.Percent(30)) c.metrics["acc"] = RandomMetric(dice);
    if (dice.Percent(15)) c.pending_metrics.insert("loss");
    c.damaged = dice.Percent(12);
    c.on_current_line = dice.Percent(75);
    if (dice.Percent(5)) c.pins.insert("pin");
    if (dice.Percent(5)) c.aliases.insert("prod");
    c.referenced = dice.Percent(5);
    c.leased = dice.Percent(5);
    history.push_back(std::move(c));
  }
  if (dice.Percent(2)) {
    for (Candidate& c : history) c.damaged = true;
  }
  std::shuffle(history.begin(), history.end(), dice.engine());
  return history;
}

ckpt::Policy RandomPolicy(Dice& dice) {
  ckpt::Policy policy;
  const auto count = [&]() -> std::optional<uint32_t> {
    if (!dice.Percent(30)) return std::nullopt;
    return static_cast<uint32_t>(dice.Between(1, 6));
  };
  policy.keep_last = count();
  if (auto n = count()) policy.keep_best.push_back({"loss", ckpt::MetricMode::kMin, *n});
  if (auto n = count()) policy.keep_best.push_back({"acc", ckpt::MetricMode::kMax, *n});
  if (dice.Percent(30)) policy.keep_every_steps = dice.Between(1, 200);
  if (dice.Percent(30)) policy.keep_within = absl::Minutes(dice.Between(1, 5000));
  policy.keep_hourly = count();
  policy.keep_daily = count();
  policy.keep_weekly = count();
  policy.keep_monthly = count();
  policy.keep_yearly = count();
  if (dice.Percent(30)) policy.keep_bytes = dice.Between(1, 1000);
  policy.metric_grace = absl::Minutes(dice.Below(20000));
  return policy;
}

// The same rules, each at least as generous.
ckpt::Policy Raised(ckpt::Policy policy, Dice& dice) {
  const auto raise = [&](std::optional<uint32_t>& count) {
    if (count) *count += static_cast<uint32_t>(dice.Below(4));
  };
  raise(policy.keep_last);
  raise(policy.keep_hourly);
  raise(policy.keep_daily);
  raise(policy.keep_weekly);
  raise(policy.keep_monthly);
  raise(policy.keep_yearly);
  for (ckpt::BestRule& rule : policy.keep_best) rule.count += static_cast<uint32_t>(dice.Below(4));
  if (policy.keep_within) *policy.keep_within += absl::Minutes(dice.Below(5000));
  if (policy.keep_bytes) *policy.keep_bytes += dice.Below(1000);
  policy.metric_grace += absl::Minutes(dice.Below(5000));
  return policy;
}

std::vector<Candidate> Kept(const std::vector<Candidate>& history,
                            const std::vector<ckpt::Verdict>& verdicts) {
  std::vector<Candidate> kept;
  for (size_t i = 0; i < history.size(); ++i) {
    if (verdicts[i].keep) kept.push_back(history[i]);
  }
  return kept;
}

std::set<uint64_t> Ids(const std::vector<Candidate>& candidates) {
  std::set<uint64_t> ids;
  for (const Candidate& c : candidates) ids.insert(c.id);
  return ids;
}

bool IsHeld(const Candidate& c) {
  return !c.pins.empty() || !c.aliases.empty() || c.referenced || c.leased;
}

class RetentionProperty : public testing::Test {
 protected:
  // `check` is called with random cases; stops at the first seed that fails.
  template <typename Check>
  void ForManyHistories(Check check) {
    for (uint64_t seed = 1; seed <= kSeeds && !HasFailure(); ++seed) {
      Dice dice(seed);
      const std::vector<Candidate> history = RandomHistory(dice);
      const ckpt::Policy policy = RandomPolicy(dice);
      SCOPED_TRACE("seed " + std::to_string(seed) + "\n  policy:  " + ToText(policy) +
                   "\n  history: " + ToText(history));
      const std::vector<ckpt::Verdict> verdicts = Judge(policy, history, Noon());
      ASSERT_EQ(verdicts.size(), history.size());
      check(policy, history, verdicts, dice);
    }
  }
};

TEST_F(RetentionProperty, NewestWholeOneOnTheCurrentLineNeverGoes) {
  ForManyHistories([](const auto&, const auto& history, const auto& verdicts, Dice&) {
    const Candidate* newest = nullptr;
    bool any_whole = false, any_whole_kept = false;
    for (size_t i = 0; i < history.size(); ++i) {
      const Candidate& c = history[i];
      any_whole = any_whole || !c.damaged;
      any_whole_kept = any_whole_kept || (!c.damaged && verdicts[i].keep);
      if (!c.damaged && c.on_current_line && (!newest || c.id > newest->id)) newest = &c;
    }
    if (newest) {
      EXPECT_TRUE(verdicts[newest - history.data()].keep) << newest->id;
    }
    EXPECT_EQ(any_whole_kept, any_whole);
  });
}

TEST_F(RetentionProperty, EveryVerdictHasReasonsOfItsKind) {
  using Rule = ckpt::Reason::Rule;
  ForManyHistories([](const auto& policy, const auto& history, const auto& verdicts, Dice&) {
    for (size_t i = 0; i < history.size(); ++i) {
      EXPECT_FALSE(verdicts[i].reasons.empty()) << history[i].id;
      EXPECT_TRUE(verdicts[i].keep || policy.has_rules()) << history[i].id;
      EXPECT_TRUE(verdicts[i].keep || !IsHeld(history[i])) << history[i].id;
      for (const ckpt::Reason& reason : verdicts[i].reasons) {
        EXPECT_FALSE(reason.text.empty()) << history[i].id;
        EXPECT_NE(reason.rule, Rule::kUnspecified) << history[i].id;
        if (reason.rule == Rule::kSuperseded) {
          EXPECT_FALSE(verdicts[i].keep) << history[i].id;
        }
      }
    }
  });
}

TEST_F(RetentionProperty, JudgingWhatWasKeptAgainRemovesNothing) {
  ForManyHistories([](const auto& policy, const auto& history, const auto& verdicts, Dice&) {
    const std::vector<Candidate> kept = Kept(history, verdicts);
    EXPECT_EQ(Ids(Kept(kept, Judge(policy, kept, Noon()))), Ids(kept));
  });
}

TEST_F(RetentionProperty, ALargerKeepNeverRemovesMore) {
  ForManyHistories([](const auto& policy, const auto& history, const auto& verdicts, Dice& dice) {
    const ckpt::Policy raised = Raised(policy, dice);
    const std::set<uint64_t> before = Ids(Kept(history, verdicts));
    const std::set<uint64_t> after = Ids(Kept(history, Judge(raised, history, Noon())));
    EXPECT_TRUE(std::includes(after.begin(), after.end(), before.begin(), before.end()))
        << "raised to " << ToText(raised);
  });
}

TEST_F(RetentionProperty, OneMoreRuleNeverRemovesMore) {
  ForManyHistories([](const auto& policy, const auto& history, const auto& verdicts, Dice& dice) {
    if (!policy.has_rules()) return;  // the first rule is what removal begins with
    ckpt::Policy more = policy;
    const ckpt::Policy other = RandomPolicy(dice);
    if (!more.keep_last) more.keep_last = other.keep_last;
    if (!more.keep_every_steps) more.keep_every_steps = other.keep_every_steps;
    if (!more.keep_within) more.keep_within = other.keep_within;
    if (!more.keep_daily) more.keep_daily = other.keep_daily;
    if (!more.keep_bytes) more.keep_bytes = other.keep_bytes;
    if (more.keep_best.empty()) more.keep_best = other.keep_best;
    const std::set<uint64_t> before = Ids(Kept(history, verdicts));
    const std::set<uint64_t> after = Ids(Kept(history, Judge(more, history, Noon())));
    EXPECT_TRUE(std::includes(after.begin(), after.end(), before.begin(), before.end()))
        << "with more rules: " << ToText(more);
  });
}

TEST_F(RetentionProperty, OrderOfCandidatesDoesNotMatter) {
  ForManyHistories([](const auto& policy, const auto& history, const auto& verdicts, Dice& dice) {
    std::vector<Candidate> shuffled = history;
    std::shuffle(shuffled.begin(), shuffled.end(), dice.engine());
    auto lines = ToLines(history, verdicts);
    auto shuffled_lines = ToLines(shuffled, Judge(policy, shuffled, Noon()));
    std::sort(lines.begin(), lines.end());
    std::sort(shuffled_lines.begin(), shuffled_lines.end());
    EXPECT_EQ(lines, shuffled_lines);
  });
}

TEST_F(RetentionProperty, DamagedOnesTakeNoSlot) {
  ForManyHistories([](const auto& policy, const auto& history, const auto& verdicts, Dice&) {
    // Without the damaged ones the whole ones are judged as they were.
    std::vector<Candidate> whole;
    std::vector<ckpt::Verdict> expected;
    for (size_t i = 0; i < history.size(); ++i) {
      if (history[i].damaged) continue;
      whole.push_back(history[i]);
      expected.push_back(verdicts[i]);
    }
    EXPECT_EQ(ToLines(whole, Judge(policy, whole, Noon())), ToLines(whole, expected));
  });
}

TEST_F(RetentionProperty, NothingChangesBeforeNextChange) {
  ForManyHistories([](const auto& policy, const auto& history, const auto& verdicts, Dice&) {
    const std::optional<absl::Time> next = NextChange(policy, history, Noon());
    const absl::Time last_same =
        next ? *next - absl::Nanoseconds(1) : Noon() + absl::Hours(24 * 365);
    EXPECT_EQ(ToLines(history, Judge(policy, history, last_same)), ToLines(history, verdicts));
    if (next) {
      EXPECT_GT(*next, Noon());
    }
  });
}

}  // namespace
}  // namespace ckptd::retention
