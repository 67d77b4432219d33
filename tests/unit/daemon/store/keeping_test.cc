// Policies, late metrics, pins, aliases, deletes, restores: what stays, and what
// is said of what went.
#include <cmath>
#include <limits>

#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ckpt::Policy Best(uint32_t count, ckpt::MetricMode mode = ckpt::MetricMode::kMin) {
  ckpt::Policy policy;
  policy.keep_best = {{"val_loss", mode, count}};
  return policy;
}

TEST_F(StoreTest, EveryCommitIsJudgedByThePolicyOfTheRunOrTheDefault) {
  Attempt("a");
  const double losses[] = {0.1, 0.5, 0.4, 0.3, 0.2};
  for (uint64_t step = 1; step <= 5; ++step) {
    Push({.step = step, .metrics = {{"val_loss", losses[step - 1]}}});
  }
  EXPECT_EQ(Reasons(), (std::map<uint64_t, std::string>{
                           {1, "kept: best val_loss #1"},
                           {2,
                            "gone: not among the last 3 (is #4), not among the best 1 by "
                            "val_loss (is #5)"},
                           {3, "kept: last 3/3"},
                           {4, "kept: last 2/3"},
                           {5, "kept: newest on the current timeline, last 1/3"}}));
  // Another default is in force for this run from its next judgement on.
  store_->SetDefaultPolicy(KeepLast(1));
  EXPECT_THAT(Steps(), ElementsAre(5, 4, 3, 1));
  Push({.step = 6});
  EXPECT_THAT(Steps(), ElementsAre(6));
  SetPolicy({});
  Push({.step = 7});
  EXPECT_EQ(Reasons()[6], "kept: no rules: everything is kept");
}

TEST_F(StoreTest, AMetricThatIsComingIsWaitedForAndThenRanked) {
  Attempt("a", 1, r_, Best(1));
  Push({.step = 1, .metrics = {{"val_loss", 2}}});
  const auto late = Push({.step = 2, .pending = {"val_loss"}});
  Push({.step = 3, .metrics = {{"val_loss", 3}}});
  EXPECT_THAT(Reasons()[2], HasSubstr("kept: awaiting metric val_loss until"));
  clock_.Advance(absl::Minutes(59));
  Get(store_->Prune(r_, false));
  EXPECT_THAT(Steps(), ElementsAre(3, 2, 1));
  const auto attached = Get(store_->AttachMetrics(r_, late.id, {{"val_loss", 1}}));
  EXPECT_EQ(ckpt::ReasonsText(attached.verdict), "best val_loss #1");
  EXPECT_TRUE(Eventually([&] { return Steps() == std::vector<uint64_t>{3, 2}; }));
  EXPECT_THAT(Reasons()[1], HasSubstr("not among the best 1 by val_loss (is #2)"));
}

TEST_F(StoreTest, WhenTheGraceIsOverWhatHasNoMetricGoes) {
  for (const bool restarted : {false, true}) {
    SCOPED_TRACE(restarted);
    const uint64_t attempt = Attempt(restarted ? "b" : "a", 1, r_, Best(1));
    Push({.attempt = attempt, .step = 1, .pending = {"val_loss"}});
    Push({.attempt = attempt, .step = 2, .metrics = {{"val_loss", 3}}});
    clock_.Advance(absl::Minutes(59));
    if (restarted) Reopen();
    EXPECT_THAT(Steps(), ElementsAre(2, 1));
    clock_.Advance(absl::Minutes(2));
    EXPECT_TRUE(Eventually([&] { return Steps() == std::vector<uint64_t>{2}; }));
    EXPECT_THAT(Reasons()[1], HasSubstr("has no val_loss to rank (awaited until"));
    Get(store_->DeleteRun(r_, false));
  }
}

TEST_F(StoreTest, WhatIsNoNumberTakesNoSlotAndIsShown) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  Attempt("a", 1, r_, Best(2));
  const double losses[] = {NAN, kInf, 2, -kInf, 1, 3};
  for (uint64_t step = 1; step <= 6; ++step) {
    Push({.step = step, .metrics = {{"val_loss", losses[step - 1]}}});
  }
  EXPECT_THAT(Steps(), ElementsAre(6, 5, 3));
  EXPECT_EQ(Reasons()[1], "gone: val_loss is nan: not ranked");
  EXPECT_TRUE(std::isnan(List(true).back().metrics.at("val_loss")));
  EXPECT_EQ(Get(store_->Resolve(r_, ckpt::SelectBest{}, false)).checkpoint.step, 5u);
}

// Without rules the rest of the run is not read: the verdict is that of reading it.
TEST_F(StoreTest, WithoutRulesEachIsJudgedAloneAsAmongAll) {
  Get(store_->OpenAttempt(r_, "a", 1, ckpt::Policy(), false));
  const auto ids = PushSteps("a", {10, 20, 30, 40, 50, 60});
  Get(store_->Pin(r_, ids.at(20), "release"));
  Get(store_->SetAlias(r_, ids.at(30), "good"));
  const auto expect_same = [&](const std::string& when) {
    SCOPED_TRACE(when);
    const auto all = Get(store_->Prune(r_, /*dry_run=*/true)).checkpoints;
    ASSERT_EQ(all.size(), Steps().size());
    for (const ckpt::Checkpoint& c : all) {
      SCOPED_TRACE(c.step);
      EXPECT_TRUE(c.verdict.keep);
      EXPECT_EQ(Get(store_->GetCheckpoint(c.id)).verdict, c.verdict);
      EXPECT_EQ(Get(store_->Resolve(r_, ckpt::SelectId{c.id}, false)).checkpoint.verdict,
                c.damage.empty() ? c.verdict : all.back().verdict);
      const auto page = Get(store_->ListCheckpoints(r_, {.before_id = c.id + 1, .limit = 1}));
      EXPECT_EQ(page.at(0).verdict, c.verdict);
    }
  };
  expect_same("as pushed");
  Get(store_->Rewind(r_, ids.at(40)));
  expect_same("rewound");
  const ckpt::Checkpoint pushed = Push({.attempt = Attempt("b"), .step = 45});
  EXPECT_EQ(ckpt::ReasonsText(pushed.verdict),
            ckpt::ReasonsText(Get(store_->Prune(r_, true)).checkpoints.at(0).verdict));
  expect_same("gone on from there");
  for (const uint64_t step : {60, 50, 40, 30, 20}) Damage(ids.at(step));
  Damage(pushed.id);
  expect_same("damaged but for the oldest");
}

TEST_F(StoreTest, ADryRunSaysWhatTheRealRunDoes) {
  Attempt("a", 1, r_, ckpt::Policy());
  for (uint64_t step = 1; step <= 5; ++step) Push({.step = step});
  Get(store_->SetPolicy(r_, KeepLast(2), /*dry_run=*/true, 0));
  EXPECT_FALSE(Get(store_->GetPolicy(r_)).policy.keep_last.has_value());
  EXPECT_THAT(Steps(), ElementsAre(5, 4, 3, 2, 1));

  // In force, but judged for the first time by the prune.
  Attempt("a", 1, Run("by_default"));
  store_->SetDefaultPolicy(ckpt::Policy());
  for (uint64_t step = 1; step <= 5; ++step)
    Push({.step = step, .seeds = {static_cast<int>(step)}, .run = Run("by_default")});
  store_->SetDefaultPolicy(KeepLast(2));
  const auto events_of = [&](const ckpt::RunName& run) {
    auto events = Get(store_->ListEvents(run, 0, 0, 1000));
    // The janitor's come when they come.
    std::erase_if(events, [](const auto& e) { return e.kind == ckpt::Event::Kind::kReclaimed; });
    return events.size();
  };
  const struct {
    const char* name;
    std::function<Store::PruneResult(bool dry_run)> call;
    ckpt::RunName run;
  } cases[] = {
      {"set policy", [&](bool dry) { return Get(store_->SetPolicy(r_, KeepLast(2), dry, 0)); }, r_},
      {"prune", [&](bool dry) { return Get(store_->Prune(Run("by_default"), dry)); },
       Run("by_default")},
      {"delete", [&](bool dry) { return Get(store_->DeleteCheckpoints(r_, {4}, dry)); }, r_},
      {"delete run", [&](bool dry) { return Get(store_->DeleteRun(r_, dry)); }, r_},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto before = Steps(c.run);
    const size_t events = events_of(c.run);
    const Store::PruneResult planned = c.call(true);
    EXPECT_EQ(Steps(c.run), before);
    EXPECT_EQ(events_of(c.run), events);
    const Store::PruneResult done = c.call(false);
    EXPECT_EQ(planned.freed_bytes, done.freed_bytes);
    EXPECT_GT(done.freed_bytes, 0u);
    ASSERT_EQ(planned.checkpoints.size(), done.checkpoints.size());
    for (size_t i = 0; i < done.checkpoints.size(); ++i) {
      EXPECT_EQ(planned.checkpoints[i].id, done.checkpoints[i].id);
      EXPECT_EQ(planned.checkpoints[i].verdict, done.checkpoints[i].verdict);
    }
  }
}

TEST_F(StoreTest, TighteningAPolicyShowsWhatGoesAndLooseningBringsNothingBack) {
  Attempt("a", 1, r_, KeepLast(4));
  for (uint64_t step = 1; step <= 4; ++step) Push({.step = step});
  const auto result = Get(store_->SetPolicy(r_, KeepLast(2), false, 0));
  std::vector<std::string> verdicts;
  for (const auto& c : result.checkpoints) verdicts.push_back(ckpt::ReasonsText(c.verdict));
  EXPECT_THAT(verdicts,
              ElementsAre("newest on the current timeline, last 1/2", "last 2/2",
                          "not among the last 2 (is #3)", "not among the last 2 (is #4)"));
  SetPolicy(KeepLast(9));
  EXPECT_THAT(Steps(), ElementsAre(4, 3));
}

TEST_F(StoreTest, APolicyChangedBySomebodyElseIsNotOverwritten) {
  Attempt("a", 1, r_, KeepLast(1));
  const uint64_t version = Get(store_->GetPolicy(r_)).policy.version;
  EXPECT_EQ(Get(store_->SetPolicy(r_, KeepLast(2), false, version)).policy.version, version + 1);
  EXPECT_EQ(Why(store_->SetPolicy(r_, KeepLast(3), false, version)), "POLICY_CHANGED");
  EXPECT_EQ(Get(store_->GetPolicy(r_)).policy.keep_last, 2u);
  Reopen();
  EXPECT_EQ(Get(store_->GetPolicy(r_)).policy.version, version + 1);
  Get(store_->SetPolicy(r_, std::nullopt, false, 0));
  EXPECT_TRUE(Get(store_->GetPolicy(r_)).is_default);
}

TEST_F(StoreTest, ATypoNeverWidensARemoval) {
  PushSteps("a", {1});
  EXPECT_EQ(Why(store_->Prune(Run("rr"), false)), "RUN_NOT_FOUND");
  EXPECT_EQ(Why(store_->PruneProject("defalt", false)), "RUN_NOT_FOUND");
  EXPECT_EQ(Why(store_->SetPolicy(Run("rr"), KeepLast(1), false, 0)), "RUN_NOT_FOUND");
  EXPECT_EQ(Why(store_->DeleteRun(Run("rr"), false)), "RUN_NOT_FOUND");
  EXPECT_EQ(Why(store_->DeleteCheckpoints(r_, {1, 99}, false)), "CHECKPOINT_NOT_FOUND");
  EXPECT_EQ(Why(store_->DeleteAlias(r_, "x")), "ALIAS_NOT_FOUND");
  EXPECT_EQ(Why(store_->Unpin(r_, 1, "x")), "PIN_NOT_FOUND");
  EXPECT_EQ(Why(store_->Pin(Run("s"), 1, "x")), "CHECKPOINT_NOT_FOUND");
  EXPECT_EQ(Why(store_->GetStats(Run("rr"))), "RUN_NOT_FOUND");
  EXPECT_THAT(Steps(), ElementsAre(1));
}

TEST_F(StoreTest, PinsAndAliasesKeepAndEachIsTakenAwayByItself) {
  const auto ids = PushSteps("a", {1, 2, 3});
  Get(store_->Pin(r_, ids.at(1), "paper"));
  Get(store_->Pin(r_, ids.at(1), "demo"));
  Get(store_->Pin(r_, ids.at(1), "demo"));
  Get(store_->SetAlias(r_, ids.at(1), "release"));
  SetPolicy(KeepLast(1));
  EXPECT_EQ(Reasons()[1], "kept: pinned: demo, pinned: paper, aliased: release");
  EXPECT_EQ(Why(store_->DeleteCheckpoints(r_, {ids.at(1)}, false)), "CHECKPOINT_HELD");
  Get(store_->Unpin(r_, ids.at(1), "demo"));
  Get(store_->Unpin(r_, ids.at(1), "paper"));
  EXPECT_EQ(Why(store_->DeleteCheckpoints(r_, {ids.at(1)}, false)), "CHECKPOINT_HELD");
  EXPECT_THAT(Steps(), ElementsAre(3, 1));
  // An alias moves; what it left goes by the rules.
  Get(store_->SetAlias(r_, ids.at(3), "release"));
  EXPECT_TRUE(Eventually([&] { return Steps() == std::vector<uint64_t>{3}; }));
  EXPECT_EQ(Get(store_->Resolve(r_, ckpt::SelectAlias{"release"}, false)).checkpoint.step, 3u);
  EXPECT_EQ(Why(store_->DeleteAlias(r_, "release")), "OK");
  EXPECT_EQ(Why(store_->Resolve(r_, ckpt::SelectAlias{"release"}, false)),
            "SELECTOR_MATCHES_NOTHING");
  EXPECT_THAT(History(), ::testing::IsSupersetOf({"pinned: paper", "unpinned: demo",
                                                  "aliased: release", "alias release deleted"}));
}

TEST_F(StoreTest, TheLastWholeOneIsNotDeleted) {
  const auto ids = PushSteps("a", {1, 2, 3});
  EXPECT_EQ(Why(store_->DeleteCheckpoints(r_, {1, 2, 3}, false)), "LAST_CHECKPOINT");
  EXPECT_EQ(Why(store_->DeleteCheckpoints(r_, {1, 2, 3}, true)), "LAST_CHECKPOINT");
  Damage(ids.at(3));
  EXPECT_EQ(Why(store_->DeleteCheckpoints(r_, {1, 2}, false)), "LAST_CHECKPOINT");
  EXPECT_EQ(Why(store_->DeleteCheckpoints(r_, {1, 3}, false)), "OK");
  EXPECT_EQ(Why(store_->DeleteCheckpoints(r_, {2}, false)), "LAST_CHECKPOINT");
  EXPECT_THAT(Steps(), ElementsAre(2));
  EXPECT_EQ(Reasons()[3], "gone: deleted by a user");
}

TEST_F(StoreTest, ARepeatedDeleteAnswersAsTheFirstDid) {
  PushSteps("a", {1, 2, 3});
  const auto first = Get(store_->DeleteCheckpoints(r_, {1, 2}, false));
  const auto again = Get(store_->DeleteCheckpoints(r_, {1, 2}, false));
  ASSERT_EQ(again.checkpoints.size(), first.checkpoints.size());
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(again.checkpoints[i].id, first.checkpoints[i].id);
    EXPECT_EQ(again.checkpoints[i].verdict, first.checkpoints[i].verdict);
  }
  EXPECT_EQ(Get(store_->GetRun(r_)).run.removed, 2u);
}

TEST_F(StoreTest, WhatWentIsNotForgotten) {
  const auto ids = PushSteps("a", {1, 2, 3, 4, 5});
  EXPECT_TRUE(Eventually([&] { return History(ids.at(1)).size() == 3; }));
  EXPECT_THAT(History(ids.at(1)),
              ElementsAre("its space is given back",
                          "not among the last 3 (is #4), has no val_loss to rank",
                          HasSubstr("committed by attempt 1 on timeline 1, 8000 bytes")));
  const auto removed = List(true);
  EXPECT_EQ(removed.size(), 5u);
  EXPECT_EQ(removed.back().removed_at, clock_.Now());
  EXPECT_FALSE(removed.back().verdict.keep);
  EXPECT_EQ(Get(store_->GetRun(r_)).run.removed, 2u);
  Get(store_->DeleteRun(r_, false));
  EXPECT_THAT(History(), Contains("deleted by a user, with 3 checkpoints"));
  EXPECT_THAT(History(ids.at(5)), Contains("the run was deleted by a user"));
}

TEST_F(StoreTest, ARemovedOneCanBeBroughtBackWithinItsGrace) {
  ckpt::Policy policy = KeepLast(1);
  policy.restore_grace = absl::Hours(2);
  Attempt("a", 1, r_, policy);
  const uint64_t first = Push({.step = 1}).id;
  const uint64_t second = Push({.step = 2}).id;
  EXPECT_EQ(Get(store_->GetCheckpoint(first)).restorable_until, clock_.Now() + absl::Hours(2));
  EXPECT_EQ(Why(store_->OpenReader(first, 0)), "CHECKPOINT_REMOVED");
  clock_.Advance(absl::Hours(1));
  const auto restored = Get(store_->RestoreCheckpoint(r_, first));
  EXPECT_EQ(ckpt::ReasonsText(restored.verdict), "pinned: restored");
  EXPECT_EQ(Get(store_->RestoreCheckpoint(r_, first)).id, first);
  clock_.Advance(absl::Hours(5));
  Get(store_->Prune(r_, false));
  EXPECT_THAT(Steps(), ElementsAre(2, 1));
  EXPECT_TRUE(store_->Verify(r_, first, [](const auto& p) { return p.damages.empty(); }).ok());
  // Too late for this one.
  Push({.step = 3});
  clock_.Advance(absl::Hours(2));
  EXPECT_EQ(Why(store_->RestoreCheckpoint(r_, second)), "NOT_RESTORABLE");
  EXPECT_TRUE(Eventually([&] { return History(second).front() == "its space is given back"; }));
  EXPECT_EQ(Why(store_->RestoreCheckpoint(r_, 99)), "CHECKPOINT_NOT_FOUND");
}

TEST_F(StoreTest, WithoutAGraceNothingIsBroughtBack) {
  const auto ids = PushSteps("a", {1, 2, 3, 4});
  EXPECT_EQ(Why(store_->RestoreCheckpoint(r_, ids.at(1))), "NOT_RESTORABLE");
  EXPECT_EQ(Get(store_->RestoreCheckpoint(r_, ids.at(4))).step, 4u);  // never went
  EXPECT_THAT(Get(store_->GetCheckpoint(ids.at(4))).pins, IsEmpty());
}

TEST_F(StoreTest, ADamagedOneTakesNoSlot) {
  const auto ids = PushSteps("a", {1, 2, 3});
  Damage(ids.at(2));
  Push({.step = 4});
  EXPECT_THAT(Steps(), ElementsAre(4, 3, 1));
  EXPECT_EQ(Reasons()[2], "gone: damaged: takes no part in the rules");
}

}  // namespace
}  // namespace ckptd
