#include "tests/unit/daemon/catalog/fixture.h"

namespace ckptd::catalog {
namespace {

using ::testing::ElementsAre;
using RunsTest = CatalogTest;

TEST_F(RunsTest, ANewRunHasTimelineOneAndNoPolicy) {
  const RunRow run = Change([&](WriteTxn& txn) {
    return Get(CreateRun(txn, {"p", "a"}, std::nullopt, now_));
  });
  EXPECT_EQ(run.name, (ckpt::RunName{"p", "a"}));
  EXPECT_EQ(run.created_at, now_);
  EXPECT_EQ(run.newest_attempt, 0u);
  EXPECT_EQ(run.current_timeline, 1u);
  EXPECT_FALSE(run.policy);
  EXPECT_FALSE(run.deleted);
  EXPECT_EQ(Get(ListTimelines(*Read(), run.id)).size(), 1u);
  EXPECT_FALSE(Get(FindRun(*Read(), {"q", "a"})));
}

TEST_F(RunsTest, CreatingARunThatIsThereChangesNothing) {
  const RunRow first = MakeRun("a");
  const RunRow again = Change([&](WriteTxn& txn) {
    return Get(CreateRun(txn, first.name, ckpt::Policy{.keep_last = 9}, now_ + absl::Hours(1)));
  });
  EXPECT_EQ(again.id, first.id);
  EXPECT_EQ(again.created_at, first.created_at);
  EXPECT_FALSE(again.policy);
}

TEST_F(RunsTest, AttemptsCountUpAndRoundTrip) {
  const RunRow run = MakeRun("a");  // opens attempt 1
  const AttemptRow second = Change([&](WriteTxn& txn) {
    return Get(InsertAttempt(txn, run.id, "launch-2", 8, now_ + absl::Seconds(5)));
  });
  EXPECT_EQ(second.number, 2u);
  EXPECT_EQ(Get(FindRunById(*Read(), run.id))->newest_attempt, 2u);
  const auto found = Get(FindAttempt(*Read(), run.id, 2));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->launch_id, "launch-2");
  EXPECT_EQ(found->world_size, 8u);
  EXPECT_EQ(found->opened_at, now_ + absl::Seconds(5));
  EXPECT_EQ(found->resumed_from, 0u);
  EXPECT_EQ(found->timeline, 0u);
  EXPECT_EQ(Get(FindAttemptByLaunch(*Read(), run.id, "launch-2"))->number, 2u);
  EXPECT_FALSE(Get(FindAttemptByLaunch(*Read(), run.id, "launch-3")));
  EXPECT_FALSE(Get(FindAttempt(*Read(), run.id, 3)));
}

TEST_F(RunsTest, AnAttemptRemembersItsStartAndTimeline) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1, .seeds = {1}});
  Change([&](WriteTxn& txn) {
    Do(SetAttemptResumedFrom(txn, run.id, 1, id));
    Do(SetAttemptTimeline(txn, run.id, 1, 4));
    EXPECT_EQ(SetAttemptResumedFrom(txn, run.id, 1, 99).code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(SetAttemptTimeline(txn, run.id, 9, 1).code(), absl::StatusCode::kNotFound);
  });
  EXPECT_EQ(Get(FindAttempt(*Read(), run.id, 1))->resumed_from, id);
  EXPECT_EQ(Get(FindAttempt(*Read(), run.id, 1))->timeline, 4u);
}

TEST_F(RunsTest, ADeletedRunRevivedKeepsCountingAttemptsAndTimelines) {
  const RunRow run = Change([&](WriteTxn& txn) {
    RunRow made = Get(CreateRun(txn, {"default", "a"}, ckpt::Policy{.keep_last = 2}, now_));
    Get(InsertAttempt(txn, made.id, "x", 1, now_));
    Get(InsertAttempt(txn, made.id, "y", 1, now_));
    Do(MarkRunDeleted(txn, made.id));
    return made;
  });
  EXPECT_TRUE(Get(FindRun(*Read(), run.name))->deleted);
  EXPECT_TRUE(Get(ListRuns(*Read(), "", "", std::nullopt, 0)).empty());

  const RunRow revived = Change([&](WriteTxn& txn) {
    return Get(CreateRun(txn, run.name, std::nullopt, now_ + absl::Hours(1)));
  });
  EXPECT_EQ(revived.id, run.id);
  EXPECT_FALSE(revived.deleted);
  EXPECT_EQ(revived.newest_attempt, 2u);
  EXPECT_EQ(revived.current_timeline, 2u);
  EXPECT_FALSE(revived.policy) << "the policy of the life before came back";
  EXPECT_EQ(revived.created_at, now_ + absl::Hours(1));
  const AttemptRow attempt =
      Change([&](WriteTxn& txn) { return Get(InsertAttempt(txn, run.id, "x", 1, now_)); });
  EXPECT_EQ(attempt.number, 3u);
  EXPECT_EQ(Get(FindAttemptByLaunch(*Read(), run.id, "x"))->number, 3u);
}

TEST_F(RunsTest, PoliciesAreVersionedAndUnsettingCountsToo) {
  const RunRow run = MakeRun("a");
  ckpt::Policy policy;
  policy.keep_last = 5;
  policy.keep_best = {{"val_loss", ckpt::MetricMode::kMin, 2}};
  policy.keep_within = absl::Hours(3);
  const auto set = [&](const std::optional<ckpt::Policy>& value) {
    return Change([&](WriteTxn& txn) { return Get(SetRunPolicy(txn, run.id, value, now_)); });
  };
  EXPECT_EQ(set(policy), 1u);
  policy.version = 1;
  EXPECT_EQ(Get(FindRunById(*Read(), run.id))->policy, policy);
  EXPECT_EQ(set(std::nullopt), 2u);
  EXPECT_FALSE(Get(FindRunById(*Read(), run.id))->policy);
  EXPECT_EQ(set(policy), 3u);
  EXPECT_EQ(Get(FindRunById(*Read(), run.id))->policy->version, 3u);
}

TEST_F(RunsTest, ListsByNameWithPrefixAndPages) {
  for (const auto& [project, name] : std::vector<std::pair<std::string, std::string>>{
           {"b", "x"}, {"a", "gpt-2"}, {"a", "gpt-1"}, {"a", "z"}, {"c", "gpt-1"}, {"a", "gpu"}}) {
    MakeRun(name, project);
  }
  struct Case {
    std::string project, prefix;
    std::optional<ckpt::RunName> after;
    uint32_t limit;
    std::vector<std::string> want;
  };
  for (const Case& c : std::vector<Case>{
           {"", "", std::nullopt, 0, {"a/gpt-1", "a/gpt-2", "a/gpu", "a/z", "b/x", "c/gpt-1"}},
           {"a", "", std::nullopt, 0, {"a/gpt-1", "a/gpt-2", "a/gpu", "a/z"}},
           {"a", "gpt-", std::nullopt, 0, {"a/gpt-1", "a/gpt-2"}},
           {"", "gp", std::nullopt, 0, {"a/gpt-1", "a/gpt-2", "a/gpu", "c/gpt-1"}},
           {"", "", ckpt::RunName{"a", "gpu"}, 2, {"a/z", "b/x"}},
           {"", "", ckpt::RunName{"b", "x"}, 9, {"c/gpt-1"}},
           {"a", "", ckpt::RunName{"a", "gpt-1"}, 1, {"a/gpt-2"}},
           {"nobody", "", std::nullopt, 0, {}},
       }) {
    SCOPED_TRACE(fmt::format("project '{}' prefix '{}' limit {}", c.project, c.prefix, c.limit));
    std::vector<std::string> names;
    for (const RunRow& run : Get(ListRuns(*Read(), c.project, c.prefix, c.after, c.limit))) {
      names.push_back(run.name.project + "/" + run.name.run);
    }
    EXPECT_EQ(names, c.want);
  }
}

TEST_F(RunsTest, ATimelineIsForkedFromACheckpoint) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1, .seeds = {1}});
  const ckpt::Timeline timeline = Change([&](WriteTxn& txn) {
    return Get(InsertTimeline(txn, run.id, id, "rewound to step 1", now_ + absl::Hours(2)));
  });
  EXPECT_EQ(timeline.number, 2u);
  EXPECT_EQ(Get(FindRunById(*Read(), run.id))->current_timeline, 2u);
  const auto timelines = Get(ListTimelines(*Read(), run.id));
  ASSERT_EQ(timelines.size(), 2u);
  EXPECT_EQ(timelines[0].forked_from, 0u);
  EXPECT_EQ(timelines[1].forked_from, id);
  EXPECT_EQ(timelines[1].reason, "rewound to step 1");
  EXPECT_EQ(timelines[1].opened_at, now_ + absl::Hours(2));
}

TEST_F(RunsTest, ForksAreOfTheRunsOwnCheckpoints) {
  const RunRow run = MakeRun("a"), other = MakeRun("b");
  const uint64_t own = Push(run, {.step = 1}), others = Push(other, {.step = 1});
  EXPECT_TRUE(Get(ListForks(*Read(), run.id)).empty());
  Change([&](WriteTxn& txn) {
    Get(InsertTimeline(txn, run.id, own, "rewound", now_));
    Get(InsertTimeline(txn, run.id, own, "rewound again", now_));
    Get(InsertTimeline(txn, run.id, others, "from another run", now_));
    Get(InsertTimeline(txn, run.id, 0, "from scratch", now_));
  });
  EXPECT_THAT(Get(ListForks(*Read(), run.id)), ElementsAre(std::pair(own, 1u)));
}

TEST_F(RunsTest, IdsAreOfTheRunsThatAreNotDeleted) {
  const RunRow a = MakeRun("a"), b = MakeRun("b", "theirs"), c = MakeRun("c");
  Change([&](WriteTxn& txn) { Do(MarkRunDeleted(txn, a.id)); });
  EXPECT_THAT(Get(ListRunIds(*Read())), ::testing::UnorderedElementsAre(b.id, c.id));
}

TEST_F(RunsTest, ReferencedIsWhatOtherRunsStartedFrom) {
  const RunRow run = MakeRun("a"), other = MakeRun("b"), deleted = MakeRun("c");
  std::vector<uint64_t> ids;
  for (uint64_t step = 1; step <= 5; ++step) ids.push_back(Push(run, {.step = step}));
  Change([&](WriteTxn& txn) {
    Get(InsertTimeline(txn, run.id, ids[0], "rewound", now_));
    Do(SetAttemptResumedFrom(txn, run.id, 1, ids[1]));  // the run's own resume
    Do(SetAttemptResumedFrom(txn, other.id, 1, ids[2]));
    Get(InsertTimeline(txn, other.id, ids[3], "fine-tuned", now_));
    Do(SetAttemptResumedFrom(txn, deleted.id, 1, ids[4]));
    Do(MarkRunDeleted(txn, deleted.id));
  });
  EXPECT_THAT(Get(ListReferenced(*Read(), run.id)), ElementsAre(ids[2], ids[3]));
  EXPECT_TRUE(Get(ListReferenced(*Read(), other.id)).empty());
}

}  // namespace
}  // namespace ckptd::catalog
