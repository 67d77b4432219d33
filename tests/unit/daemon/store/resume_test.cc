// Tickets, load reports, and what a selector is answered with.
#include "proto/names.h"
#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Outcome = Store::Outcome;

TEST_F(StoreTest, AResumeSaysWhichOfThreeItIs) {
  Attempt("a");
  EXPECT_EQ(Get(Resume(1)).outcome, Outcome::kNewRun);
  const auto ids = PushSteps("b", {10, 20});
  Attempt("c");
  const auto found = Get(Resume(3));
  EXPECT_EQ(found.outcome, Outcome::kFound);
  EXPECT_EQ(found.checkpoint->step, 20u);
  EXPECT_THAT(found.explanation, HasSubstr("newest commit on the current timeline"));
  Damage(ids.at(20));
  Attempt("d");
  const auto damaged = Get(Resume(4));
  EXPECT_EQ(damaged.outcome, Outcome::kDamaged);
  EXPECT_EQ(damaged.checkpoint->step, 10u);
  EXPECT_THAT(damaged.explanation, HasSubstr("step 20 (id 2) is damaged"));
  // A selector that matches nothing is never a silent new run.
  Attempt("e");
  EXPECT_EQ(Why(Resume(5, 0, ckpt::SelectStep{77})), "SELECTOR_MATCHES_NOTHING");
  EXPECT_EQ(Why(Resume(5, 0, ckpt::SelectAlias{"gone"})), "SELECTOR_MATCHES_NOTHING");
}

TEST_F(StoreTest, NothingWholeIsSaidAndNeverAStartFromScratch) {
  const auto ids = PushSteps("a", {10});
  Damage(ids.at(10));
  Attempt("b");
  EXPECT_EQ(Why(Resume(2)), "NO_WHOLE_CHECKPOINT");
  EXPECT_EQ(Why(store_->Resolve(r_, ckpt::SelectLatest{}, false)), "NO_WHOLE_CHECKPOINT");
}

TEST_F(StoreTest, RequireResumeRulesOutAStartFromScratch) {
  Attempt("a");
  EXPECT_EQ(Why(Resume(1, 0, ckpt::SelectLatest{}, true)), "RESUME_REQUIRED");
  EXPECT_EQ(Get(Resume(1)).outcome, Outcome::kNewRun);
  // Also when a rank that did not require it was told to start from scratch.
  EXPECT_EQ(Why(Resume(1, 0, ckpt::SelectLatest{}, true)), "RESUME_REQUIRED");
  Push({.step = 1});
  EXPECT_EQ(Why(Resume(1, 0, ckpt::SelectLatest{}, true)), "RESUME_REQUIRED");
}

// A requeued job and a restarted container often keep the id they had.
TEST_F(StoreTest, ALaunchIdThatComesAgainAfterACommitIsANewStart) {
  EXPECT_EQ(Attempt("kept"), 1u);
  EXPECT_EQ(Get(Resume(1)).outcome, Outcome::kNewRun);
  EXPECT_EQ(Attempt("kept"), 1u);  // another rank, or the same start once more
  Push({.step = 10});
  EXPECT_EQ(Attempt("kept"), 2u);
  EXPECT_EQ(Get(Resume(2)).checkpoint->step, 10u);
  EXPECT_EQ(Attempt("kept"), 2u);
  EXPECT_EQ(Why(Resume(1)), "ATTEMPT_FENCED");
  // Also where what it committed was removed since, and with another world size.
  Push({.attempt = 2, .step = 20});
  ASSERT_TRUE(store_->DeleteCheckpoints(r_, {2}, false).ok());
  EXPECT_EQ(Attempt("kept", 2), 3u);
  EXPECT_EQ(Attempt("kept", 2), 3u);
}

TEST_F(StoreTest, CallsOfResumeThatAreRefused) {
  EXPECT_EQ(Why(Resume(1)), "RUN_NOT_FOUND");
  Attempt("a", 2);
  EXPECT_EQ(Why(Resume(9)), "ATTEMPT_NOT_FOUND");
  EXPECT_EQ(Why(Resume(1, 2)), "BAD_FIELD");
  const auto answer = Get(Resume(1));
  EXPECT_EQ(Why(store_->ReportLoad("t99", 0, true, "", false)), "TICKET_NOT_FOUND");
  EXPECT_EQ(Why(store_->ReportLoad("", 0, true, "", false)), "TICKET_NOT_FOUND");
  EXPECT_EQ(Why(store_->ReportLoad(answer.ticket_id, 2, true, "", false)), "BAD_FIELD");
  Attempt("b", 2);
  EXPECT_EQ(Why(Resume(1)), "ATTEMPT_FENCED");
}

TEST_F(StoreTest, AllRanksOfAnAttemptGetTheSameAnswer) {
  PushSteps("a", {10});
  Attempt("b", 4);
  const auto first = Get(Resume(2, 0));
  for (const uint32_t rank : {0u, 1u, 2u, 3u}) {
    if (rank == 2) Reopen();  // also over a restart of the daemon
    const auto answer = Get(Resume(2, rank));
    EXPECT_EQ(answer.ticket_id, first.ticket_id);
    EXPECT_EQ(answer.checkpoint->id, first.checkpoint->id);
    EXPECT_EQ(answer.explanation, first.explanation);
  }
  // Alike means alike.
  EXPECT_EQ(Why(Resume(2, 1, ckpt::SelectStep{10})), "BAD_FIELD");
}

TEST_F(StoreTest, ToStartFromScratchIsAnAnswerThatStays) {
  Attempt("a", 2);
  EXPECT_EQ(Get(Resume(1, 0)).outcome, Outcome::kNewRun);
  for (const uint32_t rank : {0u, 1u}) Get(TryPush({.step = 1, .rank = rank}));
  EXPECT_EQ(Get(Resume(1, 1)).outcome, Outcome::kNewRun);
  Attempt("b", 2);
  EXPECT_EQ(Get(Resume(2, 1)).outcome, Outcome::kFound);
}

TEST_F(StoreTest, WhatATicketNamesStaysUntilAllRanksHaveReported) {
  PushSteps("a", {10});
  SetPolicy(KeepLast(1));
  Attempt("b", 2);
  const auto answer = Get(Resume(2, 0));
  Get(Resume(2, 1));
  for (const uint32_t rank : {0u, 1u}) Get(TryPush({.attempt = 2, .step = 20, .rank = rank}));
  EXPECT_THAT(Steps(), ElementsAre(20, 10));
  EXPECT_EQ(Reasons()[10], "kept: leased by a reader");
  EXPECT_EQ(Why(store_->DeleteCheckpoints(r_, {answer.checkpoint->id}, false)), "CHECKPOINT_HELD");
  EXPECT_EQ(Why(store_->ReportLoad(answer.ticket_id, 0, true, "", false)), "OK");
  EXPECT_EQ(Why(store_->ReportLoad(answer.ticket_id, 0, true, "", false)), "OK");  // no second rank
  Get(store_->Prune(r_, false));
  EXPECT_THAT(Steps(), ElementsAre(20, 10));
  EXPECT_EQ(Why(store_->ReportLoad(answer.ticket_id, 1, true, "", false)), "OK");
  EXPECT_TRUE(Eventually([&] { return Steps() == std::vector<uint64_t>{20}; }));
}

TEST_F(StoreTest, WhatATicketNamesStaysUntilItLapses) {
  for (const bool restarted : {false, true}) {
    SCOPED_TRACE(restarted);
    const std::string name = restarted ? "restarted" : "not";
    const auto ids = PushSteps(name + "a", {10});
    SetPolicy(KeepLast(1));
    const uint64_t attempt = Attempt(name + "b", 2);
    const auto answer = Get(Resume(attempt, 0));
    EXPECT_EQ(answer.expires_at, clock_.Now() + absl::Minutes(10));
    for (const uint32_t rank : {0u, 1u}) {
      Get(TryPush({.attempt = attempt, .step = 20, .rank = rank}));
    }
    EXPECT_EQ(Why(store_->ReportLoad(answer.ticket_id, 0, true, "", false)), "OK");
    clock_.Advance(absl::Minutes(9));
    if (restarted) Reopen();
    Get(store_->Prune(r_, false));
    EXPECT_THAT(Steps(), ElementsAre(20, 10));
    clock_.Advance(absl::Minutes(2));
    EXPECT_TRUE(Eventually([&] { return Steps() == std::vector<uint64_t>{20}; }));
    Get(store_->DeleteRun(r_, false));
  }
}

TEST_F(StoreTest, ALoadThatFailedByTheCheckpointsFaultFlagsItAndTheNextIsOffered) {
  const auto ids = PushSteps("a", {10, 20});
  Attempt("b");
  const auto first = Get(Resume(2));
  EXPECT_EQ(Why(store_->ReportLoad(first.ticket_id, 0, false, "out of memory", false)), "OK");
  EXPECT_EQ(Get(store_->GetCheckpoint(ids.at(20))).damage, "");
  Attempt("c");
  const auto second = Get(Resume(3));
  EXPECT_EQ(second.checkpoint->step, 20u);
  EXPECT_EQ(Why(store_->ReportLoad(second.ticket_id, 0, false, "no such key", true)), "OK");
  EXPECT_EQ(Get(store_->GetCheckpoint(ids.at(20))).damage, "rank 0 could not load it: no such key");
  Attempt("d");
  const auto third = Get(Resume(4));
  EXPECT_EQ(third.outcome, Outcome::kDamaged);
  EXPECT_EQ(third.checkpoint->step, 10u);
  EXPECT_THAT(third.explanation, HasSubstr("no such key"));
  EXPECT_THAT(History(), Contains(HasSubstr("rank 0 could not load it: out of memory")));
}

TEST_F(StoreTest, AnAttemptWhoseCheckpointWasFlaggedIsAnsweredAnew) {
  PushSteps("a", {10, 20});
  Attempt("b");
  const auto first = Get(Resume(2));
  EXPECT_EQ(Why(store_->ReportLoad(first.ticket_id, 0, false, "bad bytes", true)), "OK");
  const auto second = Get(Resume(2));
  EXPECT_EQ(second.outcome, Outcome::kDamaged);
  EXPECT_EQ(second.checkpoint->step, 10u);
  EXPECT_NE(second.ticket_id, first.ticket_id);
  EXPECT_EQ(Get(Resume(2)).ticket_id, second.ticket_id);
  Push({.attempt = 2, .step = 15});
  EXPECT_EQ(Latest(), 15u);
  // Whoever still holds the old answer is told to ask again.
  EXPECT_EQ(Why(store_->ReportLoad(first.ticket_id, 0, true, "", false)), "TICKET_NOT_FOUND");
}

TEST_F(StoreTest, RanksNeverGoOnFromDifferentCheckpoints) {
  PushSteps("a", {10, 20});
  Attempt("b", 2);
  const auto answer = Get(Resume(2, 0));
  EXPECT_EQ(Why(store_->ReportLoad(answer.ticket_id, 0, true, "", false)), "OK");
  EXPECT_EQ(Why(store_->ReportLoad(answer.ticket_id, 1, false, "bad bytes", true)), "OK");
  // Rank 0 has it loaded: only a new attempt brings them together.
  const auto refused = Resume(2, 1);
  EXPECT_EQ(Why(refused), "CHUNK_DAMAGED");
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("restart"));
  Attempt("c", 2);
  EXPECT_EQ(Get(Resume(3, 0)).checkpoint->step, 10u);
  EXPECT_EQ(Get(Resume(3, 1)).checkpoint->step, 10u);
}

TEST_F(StoreTest, ResumesInARowWithoutACommitFlagWhatTheyResumedFrom) {
  const auto ids = PushSteps("a", {10, 20});
  for (const std::string launch : {"b", "c", "d"}) {
    EXPECT_EQ(Get(Resume(Attempt(launch))).checkpoint->step, 20u);
  }
  const auto answer = Get(Resume(Attempt("e")));
  EXPECT_EQ(answer.outcome, Outcome::kDamaged);
  EXPECT_EQ(answer.checkpoint->step, 10u);
  EXPECT_THAT(answer.explanation, HasSubstr("3 resumes from it in a row led to no new commit"));
  // The last whole one is the best there is, however suspect.
  for (const std::string launch : {"f", "g", "h", "i", "j"}) {
    EXPECT_EQ(Get(Resume(Attempt(launch))).checkpoint->step, 10u);
  }
}

TEST_F(StoreTest, ASuspectIsNotRemovedBeforeANewerCommit) {
  const auto ids = PushSteps("a", {10, 20});
  for (const std::string launch : {"b", "c", "d", "e"}) Get(Resume(Attempt(launch)));
  clock_.Advance(absl::Hours(1));
  Get(store_->Prune(r_, false));
  EXPECT_THAT(Steps(), ElementsAre(20, 10));
  Push({.attempt = 5, .step = 12});
  clock_.Advance(absl::Hours(1));
  Get(store_->Prune(r_, false));
  EXPECT_THAT(Steps(), ElementsAre(12, 10));
}

TEST_F(StoreTest, ACommitInBetweenStartsTheCountAnew) {
  PushSteps("a", {10, 20});
  for (const std::string launch : {"b", "c"}) Get(Resume(Attempt(launch)));
  Push({.attempt = 3, .step = 30});
  for (const std::string launch : {"d", "e", "f"}) {
    EXPECT_EQ(Get(Resume(Attempt(launch))).checkpoint->step, 30u);
  }
  EXPECT_EQ(Get(Resume(Attempt("g"))).checkpoint->step, 20u);
}

TEST_F(StoreTest, WhatIsDamagedIsAnsweredWithTheWholeOneBefore) {
  const auto ids = PushSteps("a", {10, 20, 30});
  Get(store_->AttachMetrics(r_, ids.at(10), {{"val_loss", 3}}));
  Get(store_->AttachMetrics(r_, ids.at(20), {{"val_loss", 2}}));
  Get(store_->AttachMetrics(r_, ids.at(30), {{"val_loss", 1}}));
  Get(store_->SetAlias(r_, ids.at(30), "good"));
  Damage(ids.at(30));
  ckpt::Policy policy = ckpt::Policy::Default();
  policy.max_failed_resumes = 100;  // the many resumes below flag nothing
  SetPolicy(policy);
  const struct {
    ckpt::Selector selector;
    uint64_t want;
  } cases[] = {
      {ckpt::SelectLatest{}, 20}, {ckpt::SelectBest{}, 20}, {ckpt::SelectBest{"val_loss"}, 20},
      {ckpt::SelectStep{30}, 20}, {ckpt::SelectId{3}, 20},  {ckpt::SelectAlias{"good"}, 20},
      {ckpt::SelectStep{10}, 10},
  };
  int launches = 0;
  for (const auto& c : cases) {
    SCOPED_TRACE(c.selector.index());
    const auto resolved = Get(store_->Resolve(r_, c.selector, false));
    EXPECT_EQ(resolved.checkpoint.step, c.want);
    EXPECT_EQ(resolved.explanation.empty(), c.want == 10);
    const auto answer = Get(Resume(Attempt("b" + std::to_string(++launches)), 0, c.selector));
    EXPECT_EQ(answer.checkpoint->step, c.want);
    EXPECT_EQ(answer.outcome, c.want == 10 ? Outcome::kFound : Outcome::kDamaged);
  }
  EXPECT_EQ(Why(store_->Resolve(r_, ckpt::SelectBest{"accuracy"}, false)),
            "SELECTOR_MATCHES_NOTHING");
}

TEST_F(StoreTest, TheWholeOneBeforeIsFoundHoweverManyAreDamaged) {
  Get(store_->OpenAttempt(r_, "a", 1, ckpt::Policy(), false));
  std::vector<uint64_t> steps;
  for (uint64_t step = 10; step <= 300; step += 10) steps.push_back(step);
  const auto ids = PushSteps("a", steps);
  for (uint64_t step = 30; step <= 300; step += 10) {
    if (step != 150) Damage(ids.at(step));
  }
  const auto expect = [&](const ckpt::Selector& selector, uint64_t want) {
    SCOPED_TRACE(ckpt::ToString(selector));
    EXPECT_EQ(Get(store_->Resolve(r_, selector, false)).checkpoint.step, want);
  };
  expect(ckpt::SelectLatest{}, 150);
  expect(ckpt::SelectStep{300}, 150);
  expect(ckpt::SelectId{ids.at(160)}, 150);
  expect(ckpt::SelectStep{150}, 150);
  expect(ckpt::SelectStep{140}, 20);
  Damage(ids.at(150));
  expect(ckpt::SelectLatest{}, 20);
  expect(ckpt::SelectId{ids.at(290)}, 20);
  for (const uint64_t step : {10, 20}) Damage(ids.at(step));
  EXPECT_EQ(Why(store_->Resolve(r_, ckpt::SelectLatest{}, false)), "NO_WHOLE_CHECKPOINT");
  EXPECT_EQ(Why(store_->Resolve(r_, ckpt::SelectStep{300}, false)), "NO_WHOLE_CHECKPOINT");
}

TEST_F(StoreTest, ARunMayBeginFromAnothersCheckpoint) {
  const auto ids = PushSteps("a", {10, 20});
  const ckpt::RunName tuned = Run("tuned");
  Attempt("a", 1, tuned);
  const auto answer = Get(store_->Resume(tuned, 1, 0, ckpt::SelectStep{10}, true, r_));
  EXPECT_EQ(answer.outcome, Outcome::kFound);
  EXPECT_EQ(answer.checkpoint->id, ids.at(10));
  // What another run began from is referenced.
  SetPolicy(KeepLast(1));
  EXPECT_EQ(Reasons()[10], "kept: referenced by another run, leased by a reader");
  Push({.attempt = 1, .step = 5, .run = tuned});
  EXPECT_EQ(Latest(tuned), 5u);
  // Its restart goes on from its own.
  Attempt("b", 1, tuned);
  EXPECT_EQ(Get(store_->Resume(tuned, 2, 0, ckpt::SelectLatest{}, true, r_)).checkpoint->step, 5u);
  EXPECT_EQ(Why(store_->Resume(Run("r"), 1, 0, ckpt::SelectLatest{}, true, Run("x"))), "OK");
  Attempt("a", 1, Run("fresh"));
  EXPECT_EQ(Why(store_->Resume(Run("fresh"), 1, 0, ckpt::SelectLatest{}, false, Run("x"))),
            "RUN_NOT_FOUND");
}

TEST_F(StoreTest, ARemovedOneIsSaidToBeGoneAndWhy) {
  const auto ids = PushSteps("a", {10, 20, 30, 40});
  const auto gone = store_->Resolve(r_, ckpt::SelectStep{10}, false);
  EXPECT_EQ(Why(gone), "CHECKPOINT_REMOVED");
  EXPECT_THAT(std::string(gone.status().message()), HasSubstr("not among the last 3 (is #4)"));
  EXPECT_EQ(Get(store_->Resolve(r_, ckpt::SelectStep{10}, true)).checkpoint.id, ids.at(10));
  EXPECT_EQ(Get(store_->Resolve(r_, ckpt::SelectId{ids.at(10)}, true)).checkpoint.id, ids.at(10));
}

}  // namespace
}  // namespace ckptd
