// A project's budget: who gives when its runs take more together than they may.
#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BudgetTest : public StoreTest {
 protected:
  // What a checkpoint of one chunk of its own takes.
  static constexpr uint64_t kOne = 8192;

  // A run of its own attempt with these steps, each with content of its own.
  void Fill(const std::string& name, const std::vector<uint64_t>& steps,
            const ckpt::Policy& policy = {}, const ckpt::Metrics& metrics = {}) {
    Attempt(name, 1, Run(name), policy);
    for (const uint64_t step : steps) PushTo(name, step, metrics);
  }
  ckpt::Checkpoint PushTo(const std::string& name, uint64_t step,
                          const ckpt::Metrics& metrics = {}) {
    return Push({.step = step, .seeds = {++seed_}, .metrics = metrics, .run = Run(name)});
  }
  void SetBudget(std::optional<uint64_t> bytes) {
    Get(store_->SetBudget("default", bytes, /*dry_run=*/false));
  }
  uint64_t Stored() { return Get(store_->GetBudget("default")).stored_bytes; }
  std::string WhyGone(const std::string& name, uint64_t step) {
    for (const ckpt::Checkpoint& c : List(true, Run(name))) {
      if (c.step == step && c.removed_at) return ckpt::ReasonsText(c.verdict);
    }
    return "it is there";
  }

  int seed_ = 7000;
};

TEST_F(BudgetTest, ThereIsNoneUntilItIsSet) {
  Fill("a", {1, 2, 3});
  const ckpt::Budget budget = Get(store_->GetBudget("default"));
  EXPECT_EQ(budget.bytes, 0u);
  EXPECT_TRUE(budget.is_default);
  EXPECT_EQ(budget.stored_bytes, 3 * kOne);
  EXPECT_EQ(Why(store_->GetBudget("defualt")), "RUN_NOT_FOUND");
  EXPECT_EQ(Why(store_->SetBudget("defualt", 1, false)), "RUN_NOT_FOUND");
}

TEST_F(BudgetTest, ACommitThatGoesOverItTakesFromTheLargestRun) {
  Fill("large", {1, 2, 3, 4});
  Fill("small", {1, 2});
  SetBudget(6 * kOne);
  EXPECT_THAT(Steps(Run("large")), ElementsAre(4, 3, 2, 1));
  PushTo("small", 3);
  EXPECT_THAT(Steps(Run("large")), ElementsAre(4, 3, 2));
  EXPECT_THAT(Steps(Run("small")), ElementsAre(3, 2, 1));
  EXPECT_EQ(WhyGone("large", 1),
            "past the project's budget of 48.0 KiB, was: no rules: everything is kept");
  PushTo("small", 4);  // which is the larger now
  EXPECT_THAT(Steps(Run("small")), ElementsAre(4, 3, 2));
  EXPECT_THAT(Steps(Run("large")), ElementsAre(4, 3, 2));
  EXPECT_EQ(Stored(), 6 * kOne);
}

TEST_F(BudgetTest, ADryRunSaysWhatSettingItDoes) {
  Fill("a", {1, 2, 3});
  const auto dry = Get(store_->SetBudget("default", 2 * kOne, /*dry_run=*/true));
  EXPECT_EQ(Get(store_->GetBudget("default")).bytes, 0u);
  EXPECT_THAT(Steps(Run("a")), ElementsAre(3, 2, 1));
  const auto real = Get(store_->SetBudget("default", 2 * kOne, /*dry_run=*/false));
  for (const auto& result : {dry, real}) {
    ASSERT_EQ(result.checkpoints.size(), 1u);
    EXPECT_EQ(result.checkpoints[0].step, 1u);
    EXPECT_FALSE(result.checkpoints[0].verdict.keep);
    EXPECT_EQ(result.freed_bytes, kOne);
    EXPECT_EQ(result.budget.bytes, 2 * kOne);
    EXPECT_EQ(result.budget.stored_bytes, 2 * kOne);
  }
  // Twice changes nothing.
  EXPECT_THAT(Get(store_->SetBudget("default", 2 * kOne, false)).checkpoints, IsEmpty());
  EXPECT_THAT(Steps(Run("a")), ElementsAre(3, 2));
}

TEST_F(BudgetTest, TheNewestAndWhatIsHeldStaysWhateverTheBudget) {
  Fill("a", {1, 2, 3});
  Fill("b", {1, 2});
  Get(store_->Pin(Run("a"), 1, "release"));
  Get(store_->SetAlias(Run("a"), 2, "good"));
  SetBudget(1);
  EXPECT_THAT(Steps(Run("a")), ElementsAre(3, 2, 1));
  EXPECT_THAT(Steps(Run("b")), ElementsAre(2));
  // Let go of, it is next.
  Get(store_->Unpin(Run("a"), 1, "release"));
  EXPECT_TRUE(Eventually([&] { return Steps(Run("a")) == std::vector<uint64_t>{3, 2}; }));
  // And pushing goes on.
  EXPECT_TRUE(PushTo("a", 4).verdict.keep);
  EXPECT_THAT(Steps(Run("a")), ElementsAre(4, 2));
}

TEST_F(BudgetTest, ARunsBestGoesLast) {
  ckpt::Policy policy = KeepLast(3);
  policy.keep_best = {{"val_loss", ckpt::MetricMode::kMin, 1}};
  Attempt("a", 1, Run("a"), policy);
  for (const auto& [step, loss] :
       std::map<uint64_t, double>{{1, 0.1}, {2, 0.5}, {3, 0.4}, {4, 0.3}}) {
    PushTo("a", step, {{"val_loss", loss}});
  }
  ASSERT_THAT(Steps(Run("a")), ElementsAre(4, 3, 2, 1));
  SetBudget(2 * kOne);
  EXPECT_THAT(Steps(Run("a")), ElementsAre(4, 1));
  SetBudget(kOne);
  EXPECT_THAT(Steps(Run("a")), ElementsAre(4));
  EXPECT_THAT(WhyGone("a", 1), HasSubstr("best val_loss #1"));
}

TEST_F(BudgetTest, EqualChunksCountOnce) {
  Attempt("a", 1, Run("a"), ckpt::Policy());
  for (uint64_t step = 1; step <= 8; ++step) {
    // Nine tenths of each are those of the one before.
    std::vector<int> seeds = {1, 2, 3, 4, 5, 6, 7, 8, 9, static_cast<int>(100 + step)};
    Push({.step = step, .seeds = seeds, .run = Run("a")});
  }
  EXPECT_EQ(Stored(), 17 * kOne);
  SetBudget(17 * kOne);
  EXPECT_EQ(Steps(Run("a")).size(), 8u);
  // Only what is its own comes back of each that goes: it takes three.
  SetBudget(14 * kOne);
  EXPECT_THAT(Steps(Run("a")), ElementsAre(8, 7, 6, 5, 4));
  EXPECT_EQ(Stored(), 14 * kOne);
}

TEST_F(BudgetTest, WhatCouldBeRestoredDoesNotCount) {
  ckpt::Policy policy = KeepLast(2);
  policy.restore_grace = absl::Hours(1);
  Fill("a", {1, 2, 3, 4}, policy);
  EXPECT_EQ(Stored(), 2 * kOne);
  SetBudget(2 * kOne);
  EXPECT_THAT(Steps(Run("a")), ElementsAre(4, 3));
  PushTo("a", 5);
  EXPECT_THAT(Steps(Run("a")), ElementsAre(5, 4));
}

TEST_F(BudgetTest, AProjectKnowsNothingOfAnother) {
  Fill("a", {1, 2, 3});
  const ckpt::RunName other = {"other", "x"};
  Attempt("x", 1, other, ckpt::Policy());
  for (uint64_t step = 1; step <= 3; ++step) Push({.step = step, .seeds = {++seed_}, .run = other});
  SetBudget(2 * kOne);
  EXPECT_THAT(Steps(Run("a")), ElementsAre(3, 2));
  EXPECT_THAT(Steps(other), ElementsAre(3, 2, 1));
}

TEST_F(BudgetTest, TheDefaultIsThatOfProjectsWithoutTheirOwn) {
  Fill("a", {1, 2, 3});
  store_->SetDefaultBudget(2 * kOne);
  EXPECT_EQ(Get(store_->GetBudget("default")).bytes, 2 * kOne);
  PushTo("a", 4);
  EXPECT_THAT(Steps(Run("a")), ElementsAre(4, 3));
  SetBudget(0);  // none, whatever the default
  PushTo("a", 5);
  EXPECT_THAT(Steps(Run("a")), ElementsAre(5, 4, 3));
  Reopen();
  EXPECT_FALSE(Get(store_->GetBudget("default")).is_default);
  store_->SetDefaultBudget(2 * kOne);
  const auto back = Get(store_->SetBudget("default", std::nullopt, false));
  EXPECT_TRUE(back.budget.is_default);
  EXPECT_THAT(Steps(Run("a")), ElementsAre(5, 4));
}

TEST_F(BudgetTest, PruningAProjectGoesByRulesAndThenByTheBudgetDryOrNot) {
  store_->SetDefaultPolicy(ckpt::Policy());
  for (const char* name : {"a", "b"}) {
    Attempt(name, 1, Run(name));
    for (uint64_t step = 1; step <= 4; ++step) PushTo(name, step);
  }
  store_->SetDefaultPolicy(KeepLast(3));
  store_->SetDefaultBudget(5 * kOne);
  for (const bool dry : {true, false}) {
    SCOPED_TRACE(dry);
    const auto results = Get(store_->PruneProject("default", dry));
    ASSERT_EQ(results.size(), 2u);
    std::vector<std::string> reasons;
    for (const auto& c : results[0].checkpoints) reasons.push_back(ckpt::ReasonsText(c.verdict));
    EXPECT_THAT(reasons, ElementsAre("newest on the current timeline, last 1/3", "last 2/3",
                                     "past the project's budget of 40.0 KiB, was: last 3/3",
                                     "not among the last 3 (is #4)"));
    EXPECT_EQ(results[0].freed_bytes, 2 * kOne);
    EXPECT_EQ(results[1].freed_bytes, kOne);
  }
  EXPECT_THAT(Steps(Run("a")), ElementsAre(4, 3));
  EXPECT_THAT(Steps(Run("b")), ElementsAre(4, 3, 2));
}

TEST_F(BudgetTest, TheSpaceComesBack) {
  Fill("a", {1, 2, 3, 4, 5, 6});
  const uint64_t before = DiskBytes();
  SetBudget(2 * kOne);
  ASSERT_TRUE(IsReclaimed());
  EXPECT_LT(DiskBytes(), before / 2);
}

}  // namespace
}  // namespace ckptd
