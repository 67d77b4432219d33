// Who gives, and in what order, when a project's runs take too much together.
#include "daemon/retention/budget.h"

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ckptd::retention {
namespace {

using Rule = ckpt::Reason::Rule;

// A checkpoint of 10 bytes, by id.
struct Has {
  uint64_t id;
  Rule rule = Rule::kLast;
  uint32_t best_rank = 0;
  uint64_t bytes = 10;
};
using Runs = std::map<int64_t, std::vector<Has>>;

std::vector<uint64_t> OrderOf(const Runs& runs, int* judged = nullptr, size_t most = 1000) {
  std::vector<Share> shares;
  for (const auto& [run, has] : runs) {
    Share share{.run = run};
    for (const Has& c : has) share.bytes += c.bytes;
    shares.push_back(share);
  }
  Giving giving(shares, [&](int64_t run) -> absl::StatusOr<std::vector<Kept>> {
    if (judged != nullptr) ++*judged;
    std::vector<Kept> kept;
    for (const Has& c : runs.at(run)) {
      kept.push_back({c.id, c.bytes, c.best_rank, {true, {{c.rule, "why"}}}});
    }
    return kept;
  });
  std::vector<uint64_t> order;
  while (order.size() < most) {
    const auto gift = giving.Next();
    EXPECT_TRUE(gift.ok()) << gift.status();
    if (!gift.ok() || !*gift) break;
    order.push_back((*gift)->checkpoint.id);
  }
  return order;
}

TEST(GivingTest, OrdersByRunSizeThenByWhatIsDearest) {
  struct Case {
    const char* what;
    Runs runs;
    std::vector<uint64_t> order;
  };
  for (const Case& c : std::vector<Case>{
           {"nobody", {}, {}},
           {"a run without checkpoints", {{1, {}}}, {}},
           {"the older first", {{1, {{1}, {2}, {3}}}}, {1, 2, 3}},
           {"whatever order they come in", {{1, {{3}, {1}, {2}}}}, {1, 2, 3}},
           {"the newest never", {{1, {{1}, {2, Rule::kNewest}}}}, {1}},
           {"the larger run first", {{1, {{1}}}, {2, {{2}, {3}}}}, {2, 1, 3}},
           {"of equal runs the older, in turns", {{1, {{1}, {3}}}, {2, {{2}, {4}}}}, {1, 2, 3, 4}},
           {"down to the level of the next",
            {{1, {{1}, {2}, {3}, {4}}}, {2, {{5}, {6}}}},
            {1, 2, 3, 5, 4, 6}},
           {"what it cannot give counts for its size",
            {{1, {{1, Rule::kNewest, 0, 100}, {2}}}, {2, {{3}, {4}}}},
            {2, 3, 4}},
           {"one large checkpoint before many small",
            {{1, {{1, Rule::kLast, 0, 50}}}, {2, {{2}, {3}}}},
            {1, 2, 3}},
           {"a best after the others", {{1, {{1, Rule::kBest, 1}, {2}, {3}}}}, {2, 3, 1}},
           {"lesser bests from the lowest",
            {{1, {{1, Rule::kBest, 2}, {2, Rule::kBest, 3}, {3}, {4, Rule::kBest, 1}}}},
            {3, 2, 1, 4}},
           {"a run's best after all else of every run",
            {{1, {{1, Rule::kBest, 1}, {2, Rule::kBest, 1, 90}}}, {2, {{3}}}},
            {3, 1, 2}},
           {"bests by size of run as well",
            {{1, {{1, Rule::kBest, 1}}}, {2, {{2, Rule::kBest, 1, 20}}}},
            {2, 1}},
           {"what no rule limits", {{1, {{1, Rule::kNoRules}, {2, Rule::kNoRules}}}}, {1, 2}},
       }) {
    EXPECT_EQ(OrderOf(c.runs), c.order) << c.what;
  }
}

TEST(GivingTest, OnlyRulesAreGivenUp) {
  for (const Rule rule :
       {Rule::kLast, Rule::kBest, Rule::kEverySteps, Rule::kWithin, Rule::kHourly, Rule::kDaily,
        Rule::kWeekly, Rule::kMonthly, Rule::kYearly, Rule::kBytes, Rule::kNoRules}) {
    EXPECT_THAT(OrderOf({{1, {{1, rule}}}}), ::testing::ElementsAre(1)) << static_cast<int>(rule);
  }
  for (const Rule rule : {Rule::kNewest, Rule::kPinned, Rule::kAliased, Rule::kReferenced,
                          Rule::kLeased, Rule::kAwaitingMetric, Rule::kClock, Rule::kDamaged}) {
    EXPECT_THAT(OrderOf({{1, {{1, rule}}}}), ::testing::IsEmpty()) << static_cast<int>(rule);
  }
  // One such reason is enough, and what a rule lets go is not given.
  EXPECT_FALSE(IsGivable({true, {{Rule::kLast, ""}, {Rule::kPinned, ""}}}));
  EXPECT_FALSE(IsGivable({false, {{Rule::kSuperseded, ""}}}));
}

TEST(GivingTest, OfManyRunsOnlyThoseThatGiveAreJudged) {
  Runs runs;
  for (int64_t run = 1; run <= 1000; ++run) {
    runs[run] = {{static_cast<uint64_t>(run), Rule::kLast, 0, static_cast<uint64_t>(run)}};
  }
  int judged = 0;
  EXPECT_THAT(OrderOf(runs, &judged, 3), ::testing::ElementsAre(1000, 999, 998));
  EXPECT_EQ(judged, 3);
}

TEST(GivingTest, AFailureToJudgeIsTold) {
  Giving giving({{1, 10}}, [](int64_t) -> absl::StatusOr<std::vector<Kept>> {
    return absl::InternalError("no");
  });
  EXPECT_EQ(giving.Next().status(), absl::InternalError("no"));
}

}  // namespace
}  // namespace ckptd::retention
