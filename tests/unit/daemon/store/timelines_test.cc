// Which steps follow which: resuming from an older one, rewinding, restarts.
#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TimelinesTest : public StoreTest {
 protected:
  // A restart that asks for `selector` and then commits `steps`.
  void Restart(const std::string& launch, const ckpt::Selector& selector,
               const std::vector<uint64_t>& steps) {
    const uint64_t attempt = Attempt(launch);
    Get(Resume(attempt, 0, selector));
    for (const uint64_t step : steps) Push({.attempt = attempt, .step = step});
  }
  std::vector<uint32_t> TimelineOfEach() {  // of the live ones, newest commit first
    std::vector<uint32_t> timelines;
    for (const ckpt::Checkpoint& c : List()) timelines.push_back(c.timeline);
    return timelines;
  }
  uint32_t Current() { return Get(store_->GetRun(r_)).run.current_timeline; }
};

TEST_F(TimelinesTest, ARestartFromTheNewestGoesOnOnItsTimeline) {
  PushSteps("a", {10, 20});
  Restart("b", ckpt::SelectLatest{}, {30});
  EXPECT_THAT(TimelineOfEach(), ElementsAre(1, 1, 1));
  EXPECT_EQ(Latest(), 30u);
}

TEST_F(TimelinesTest, ARestartThatSavesTheStepItResumedFromStaysOnItsTimeline) {
  PushSteps("a", {10, 20});
  Restart("b", ckpt::SelectLatest{}, {20, 30});
  EXPECT_THAT(TimelineOfEach(), ElementsAre(1, 1, 1));  // keep_last=3: 10 went
  EXPECT_THAT(Steps(), ElementsAre(30, 20, 20));
}

TEST_F(TimelinesTest, AResumeFromAnOlderStepForksAndLatestFollows) {
  PushSteps("a", {10, 20, 30});
  Restart("b", ckpt::SelectStep{10}, {});
  EXPECT_EQ(Latest(), 30u);  // nothing was committed yet
  Push({.attempt = 2, .step = 15});
  EXPECT_EQ(Current(), 2u);
  EXPECT_EQ(Latest(), 15u);
  const auto timelines = Get(store_->GetRun(r_)).timelines;
  ASSERT_EQ(timelines.size(), 2u);
  EXPECT_THAT(timelines[1].reason, HasSubstr("attempt 2 resumed from step 10"));
  // Nothing is skipped, overwritten or evicted because its step is lower.
  EXPECT_THAT(Steps(), ElementsAre(15, 30, 20, 10));
  Restart("c", ckpt::SelectLatest{}, {20});
  EXPECT_EQ(Latest(), 20u);
  // A step names the current line's first.
  EXPECT_EQ(Get(store_->Resolve(r_, ckpt::SelectStep{20}, false)).checkpoint.timeline, 2u);
  EXPECT_EQ(Get(store_->Resolve(r_, ckpt::SelectStep{30}, false)).checkpoint.timeline, 1u);
}

TEST_F(TimelinesTest, ARestartAfterAForkGoesOnAtTheForksEnd) {
  PushSteps("a", {10, 20, 30});
  Restart("b", ckpt::SelectStep{10}, {15});
  Restart("c", ckpt::SelectLatest{}, {25});
  EXPECT_EQ(Current(), 2u);
  EXPECT_EQ(Latest(), 25u);
}

TEST_F(TimelinesTest, AnAttemptFromScratchWithLowerStepsOpensATimeline) {
  PushSteps("a", {100, 200});
  Attempt("b");
  Push({.attempt = 2, .step = 10});
  EXPECT_EQ(Current(), 2u);
  EXPECT_EQ(Latest(), 10u);
  EXPECT_THAT(Get(store_->GetRun(r_)).timelines[1].reason, HasSubstr("started from scratch"));
  Push({.attempt = 2, .step = 20});
  EXPECT_EQ(Current(), 2u);
  EXPECT_THAT(Steps(), ElementsAre(20, 10, 200));
}

TEST_F(TimelinesTest, AnAttemptThatGoesBackByItselfForks) {
  PushSteps("a", {10, 20, 30});
  Push({.attempt = 1, .step = 15});
  EXPECT_EQ(Current(), 2u);
  EXPECT_EQ(Latest(), 15u);
  EXPECT_THAT(Get(store_->GetRun(r_)).timelines[1].reason,
              HasSubstr("attempt 1 went back from step 30 to 15"));
}

TEST_F(TimelinesTest, RewindMakesAnOlderOneTheNextLatest) {
  const auto ids = PushSteps("a", {10, 20, 30});
  const ckpt::Run run = Get(store_->Rewind(r_, ids.at(20)));
  EXPECT_EQ(run.latest->step, 20u);
  EXPECT_EQ(Latest(), 20u);
  EXPECT_EQ(Get(store_->Rewind(r_, ids.at(20))).current_timeline, 2u);  // no third timeline
  Restart("b", ckpt::SelectLatest{}, {25, 30});
  EXPECT_EQ(Latest(), 30u);
  EXPECT_EQ(Current(), 2u);
  // And forth again.
  EXPECT_EQ(Get(store_->Rewind(r_, ids.at(20))).latest->step, 20u);
}

TEST_F(TimelinesTest, RewindIsRefused) {
  const auto ids = PushSteps("a", {10, 20, 30, 40});
  Damage(ids.at(40));  // the newest: it stays although damaged
  EXPECT_EQ(Why(store_->Rewind(r_, ids.at(40))), "CHUNK_DAMAGED");
  EXPECT_EQ(Why(store_->Rewind(r_, ids.at(10))), "CHECKPOINT_REMOVED");
  EXPECT_EQ(Why(store_->Rewind(r_, 999)), "CHECKPOINT_NOT_FOUND");
  EXPECT_EQ(Why(store_->Rewind(Run("s"), ids.at(20))), "RUN_NOT_FOUND");
  EXPECT_EQ(Latest(), 30u);
}

TEST_F(TimelinesTest, TheFloorIsOnTheCurrentLine) {
  const auto ids = PushSteps("a", {10, 20, 30});
  Get(store_->Rewind(r_, ids.at(10)));
  SetPolicy(KeepLast(1));
  EXPECT_THAT(Steps(), ElementsAre(30, 10));
  EXPECT_THAT(Reasons()[10], HasSubstr("newest on the current timeline"));
  EXPECT_THAT(Reasons()[30], HasSubstr("last 1/1"));
}

// What an attempt that runs while somebody rewinds commits is not `latest`,
// whether or not it had committed before.
TEST_F(TimelinesTest, AnAttemptThatRunsThroughARewindStaysOnItsTimeline) {
  for (const bool committed_before : {true, false}) {
    SCOPED_TRACE(committed_before);
    const auto ids = PushSteps("a" + std::to_string(committed_before), {10, 20});
    const uint64_t attempt = Attempt("b" + std::to_string(committed_before));
    Get(Resume(attempt));
    if (committed_before) Push({.attempt = attempt, .step = 30});
    const uint32_t before = Current();
    Get(store_->Rewind(r_, ids.at(10)));
    EXPECT_EQ(Current(), before + 1);
    EXPECT_EQ(Push({.attempt = attempt, .step = 40}).timeline, before);
    EXPECT_EQ(Latest(), 10u);
    Get(store_->DeleteRun(r_, false));
  }
}

TEST_F(TimelinesTest, ATimelineForkedFromARemovedCheckpointStillFollowsIt) {
  const auto ids = PushSteps("a", {10, 20, 30});
  const uint64_t attempt = Attempt("b");
  const auto answer = Get(Resume(attempt, 0, ckpt::SelectStep{20}));
  EXPECT_TRUE(store_->ReportLoad(answer.ticket_id, 0, true, "", false).ok());
  Push({.attempt = attempt, .step = 25});
  // The whole old line goes by a user's hand, the fork point with it: a fork
  // inside a run holds nothing.
  EXPECT_THAT(Steps(), ElementsAre(25, 30, 20));
  EXPECT_EQ(Why(store_->DeleteCheckpoints(r_, {ids.at(20), ids.at(30)}, false)), "OK");
  EXPECT_EQ(Latest(), 25u);
  Restart("c", ckpt::SelectLatest{}, {26});
  EXPECT_EQ(Current(), 2u);
  EXPECT_EQ(Latest(), 26u);
}

TEST_F(TimelinesTest, AResumeThatHeldWhatWasRemovedMeanwhileForksFromIt) {
  const auto ids = PushSteps("a", {10, 20, 30});
  const uint64_t attempt = Attempt("b");
  const auto answer = Get(Resume(attempt, 0, ckpt::SelectStep{10}));
  EXPECT_TRUE(store_->ReportLoad(answer.ticket_id, 0, true, "", false).ok());
  SetPolicy(KeepLast(1));
  EXPECT_TRUE(Eventually([&] { return Steps() == std::vector<uint64_t>{30}; }));
  Push({.attempt = attempt, .step = 11});
  EXPECT_EQ(Get(store_->GetRun(r_)).timelines[1].forked_from, ids.at(10));
  EXPECT_EQ(Latest(), 11u);
}

TEST_F(TimelinesTest, TimelinesSurviveARestartOfTheDaemon) {
  const auto ids = PushSteps("a", {10, 20, 30});
  Get(store_->Rewind(r_, ids.at(20)));
  Reopen();
  EXPECT_EQ(Latest(), 20u);
  EXPECT_EQ(Get(store_->GetRun(r_)).timelines.size(), 2u);
}

}  // namespace
}  // namespace ckptd
