#include <bit>
#include <cmath>
#include <limits>

#include "tests/unit/daemon/catalog/fixture.h"

namespace ckptd::catalog {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

class CheckpointsTest : public CatalogTest {
 protected:
  std::vector<uint64_t> Ids(const RunRow& run, const ListFilter& filter) {
    std::vector<uint64_t> ids;
    for (const auto& checkpoint : Get(ListCheckpoints(*Read(), run.id, filter))) {
      ids.push_back(checkpoint.id);
    }
    return ids;
  }
};

TEST_F(CheckpointsTest, ACheckpointRoundTrips) {
  const RunRow run = MakeRun("a", "p");
  const uint64_t id = Push(run, {.step = 42, .seeds = {1, 2}, .metrics = {{"loss", 0.5}}});
  const auto checkpoint = Get(FindCheckpoint(*Read(), id));
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->id, id);
  EXPECT_EQ(checkpoint->run, run.name);
  EXPECT_EQ(checkpoint->step, 42u);
  EXPECT_EQ(checkpoint->world_size, 1u);
  EXPECT_EQ(checkpoint->timeline, 1u);
  EXPECT_EQ(checkpoint->attempt, 1u);
  EXPECT_EQ(checkpoint->committed_at, now_);
  EXPECT_EQ(checkpoint->bytes, 2 * kLength);
  EXPECT_EQ(checkpoint->damage, "");
  EXPECT_FALSE(checkpoint->removed_at);
  EXPECT_FALSE(checkpoint->restorable_until);
  EXPECT_EQ(Get(RunIdOf(*Read(), id)), run.id);
  EXPECT_EQ(RunIdOf(*Read(), 99).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(Get(FindCheckpoint(*Read(), 99)));
}

TEST_F(CheckpointsTest, MetricsKeepEveryBit) {
  const RunRow run = MakeRun("a");
  const double quiet = std::numeric_limits<double>::quiet_NaN();
  const double payload = std::bit_cast<double>(0xfff8dead'beef0001);
  const double infinity = std::numeric_limits<double>::infinity();
  const ckpt::Metrics metrics = {{"denormal", std::numeric_limits<double>::denorm_min()},
                                 {"inf", infinity},
                                 {"minus-inf", -infinity},
                                 {"minus-zero", -0.0},
                                 {"nan", quiet},
                                 {"nan-payload", payload},
                                 {"third", 1.0 / 3}};
  const uint64_t id = Push(run, {.step = 1, .metrics = metrics});
  const auto checkpoint = Get(FindCheckpoint(*Read(), id));
  ASSERT_EQ(checkpoint->metrics.size(), metrics.size());
  for (const auto& [name, value] : metrics) {
    EXPECT_EQ(std::bit_cast<uint64_t>(checkpoint->metrics.at(name)), std::bit_cast<uint64_t>(value))
        << name;
  }
  EXPECT_THAT(checkpoint->pending_metrics, IsEmpty());
}

TEST_F(CheckpointsTest, ALateMetricIsNoLongerPending) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Change([&](WriteTxn& txn) {
    NewUpload upload{.run_id = run.id, .attempt = 1, .step = 1};
    upload.pending_metrics = {"val_loss"};
    const UploadRow row = Get(InsertUpload(txn, upload, ManifestOf({}), now_));
    return Get(FinishShard(txn, row.shard_row, 1, now_));
  });
  EXPECT_THAT(Get(FindCheckpoint(*Read(), id))->pending_metrics, ElementsAre("val_loss"));
  for (const double value : {std::nan(""), 0.5}) {
    Change([&](WriteTxn& txn) { Do(SetMetrics(txn, id, {{"val_loss", value}})); });
    EXPECT_THAT(Get(FindCheckpoint(*Read(), id))->pending_metrics, IsEmpty());
  }
  EXPECT_THAT(Get(FindCheckpoint(*Read(), id))->metrics, ElementsAre(Pair("val_loss", 0.5)));
  EXPECT_EQ(SetMetrics(*Write(), 99, {}).code(), absl::StatusCode::kNotFound);
}

TEST_F(CheckpointsTest, ListsNewestFirstWithFilters) {
  const RunRow run = MakeRun("a"), other = MakeRun("b");
  Push(run, {.step = 10});     // 1
  Push(run, {.step = 20});     // 2
  Push(other, {.step = 20});   // 3
  Push(run, {.step = 30});     // 4
  Change([&](WriteTxn& txn) {  // 5, a lower step on timeline 2
    const UploadRow upload = Open(txn, run, {.step = 20, .attempt = 2});
    Get(FinishShard(txn, upload.shard_row, 2, now_));
    Do(AddPin(txn, 2, "keep", now_));
  });
  Push(run, {.step = 40, .rank = 0, .world_size = 2});  // not committed
  Remove(1);
  struct Case {
    std::string what;
    ListFilter filter;
    std::vector<uint64_t> want;
  };
  for (const Case& c : std::vector<Case>{
           {"all live", {}, {5, 4, 2}},
           {"with removed", {.include_removed = true}, {5, 4, 2, 1}},
           {"from a step", {.min_step = 21}, {4}},
           {"to a step", {.max_step = 20}, {5, 2}},
           {"to the highest step", {.max_step = std::numeric_limits<uint64_t>::max()}, {5, 4, 2}},
           {"from the highest step", {.min_step = std::numeric_limits<uint64_t>::max()}, {}},
           {"timeline 2", {.timeline = 2}, {5}},
           {"pinned", {.pinned_only = true}, {2}},
           {"a page", {.limit = 2}, {5, 4}},
           {"the next page", {.before_id = 4, .limit = 2}, {2}},
           {"a page with removed", {.include_removed = true, .before_id = 2}, {1}},
       }) {
    SCOPED_TRACE(c.what);
    EXPECT_EQ(Ids(run, c.filter), c.want);
  }
}

TEST_F(CheckpointsTest, AStepIsFoundOnItsTimelineNewestFirst) {
  const RunRow run = MakeRun("a");
  Change([&](WriteTxn& txn) {
    for (const auto& [attempt, timeline] : {std::pair<uint64_t, uint32_t>{1, 1}, {2, 2}, {3, 2}}) {
      const UploadRow upload = Open(txn, run, {.step = 5, .attempt = attempt});
      Get(FinishShard(txn, upload.shard_row, timeline, now_));
    }
  });
  Remove(3);
  struct Case {
    uint64_t step;
    uint32_t timeline;
    bool removed;
    uint64_t want;
  };
  for (const Case& c : std::vector<Case>{{5, 0, false, 2},
                                         {5, 0, true, 3},
                                         {5, 1, false, 1},
                                         {5, 2, true, 3},
                                         {5, 3, true, 0},
                                         {6, 0, true, 0},
                                         {~0ull, 0, true, 0}}) {
    SCOPED_TRACE(fmt::format("step {} timeline {} removed {}", c.step, c.timeline, c.removed));
    const auto found = Get(FindByStep(*Read(), run.id, c.step, c.timeline, c.removed));
    EXPECT_EQ(found ? found->id : 0, c.want);
  }
}

TEST_F(CheckpointsTest, OfAStepAllThatAreNotRemovedAreListed) {
  const RunRow run = MakeRun("a"), other = MakeRun("b");
  Change([&](WriteTxn& txn) {
    for (const uint64_t attempt : {1, 2, 3}) {
      Push(txn, run, {.step = 5, .seeds = {1}, .attempt = attempt});
    }
    Push(txn, run, {.step = 6, .seeds = {1}});
    Push(txn, other, {.step = 5, .seeds = {1}});
    Open(txn, run, {.step = 5, .attempt = 4});  // not committed
  });
  Remove(2);
  std::vector<uint64_t> ids;
  for (const ckpt::Checkpoint& c : Get(ListByStep(*Read(), run.id, 5))) ids.push_back(c.id);
  EXPECT_THAT(ids, ::testing::ElementsAre(3, 1));
  EXPECT_TRUE(Get(ListByStep(*Read(), run.id, 7)).empty());
}

TEST_F(CheckpointsTest, InAListEachHasItsOwnNotes) {
  const RunRow run = MakeRun("a");
  for (uint64_t step = 1; step <= 4; ++step) {
    Push(run, {.step = step, .metrics = {{"step", static_cast<double>(step)}, {"zero", 0}}});
  }
  Change([&](WriteTxn& txn) {
    Do(AddPin(txn, 2, "two", now_));
    Do(AddPin(txn, 2, "second", now_));
    Get(SetAlias(txn, run.id, "three", 3, now_));
  });
  const auto listed = Get(ListCheckpoints(*Read(), run.id, {}));
  ASSERT_EQ(listed.size(), 4u);
  for (const ckpt::Checkpoint& c : listed) {
    SCOPED_TRACE(c.id);
    EXPECT_EQ(c.metrics, (ckpt::Metrics{{"step", static_cast<double>(c.step)}, {"zero", 0}}));
    EXPECT_EQ(c.pins, c.id == 2 ? (std::set<std::string>{"two", "second"})
                                : std::set<std::string>());
    EXPECT_EQ(c.aliases, c.id == 3 ? std::set<std::string>{"three"} : std::set<std::string>());
    const auto found = *Get(FindCheckpoint(*Read(), c.id));
    EXPECT_EQ(found.metrics, c.metrics);
    EXPECT_EQ(found.pins, c.pins);
    EXPECT_EQ(found.aliases, c.aliases);
  }
}

TEST_F(CheckpointsTest, PinsComeAndGoByName) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1});
  Change([&](WriteTxn& txn) {
    Do(AddPin(txn, id, "release", now_));
    Do(AddPin(txn, id, "release", now_));
    Do(AddPin(txn, id, "paper", now_));
  });
  EXPECT_THAT(Get(FindCheckpoint(*Read(), id))->pins, ElementsAre("paper", "release"));
  Change([&](WriteTxn& txn) {
    EXPECT_TRUE(Get(RemovePin(txn, id, "release")));
    EXPECT_FALSE(Get(RemovePin(txn, id, "release")));
    EXPECT_EQ(AddPin(txn, 99, "x", now_).code(), absl::StatusCode::kNotFound);
  });
  EXPECT_THAT(Get(FindCheckpoint(*Read(), id))->pins, ElementsAre("paper"));
}

TEST_F(CheckpointsTest, AnAliasNamesOneCheckpointAndMoves) {
  const RunRow run = MakeRun("a"), other = MakeRun("b");
  const uint64_t first = Push(run, {.step = 1}), second = Push(run, {.step = 2}),
                 foreign = Push(other, {.step = 1});
  const auto set = [&](uint64_t id) {
    return Change([&](WriteTxn& txn) { return Get(SetAlias(txn, run.id, "prod", id, now_)); });
  };
  EXPECT_EQ(set(first), 0u);
  EXPECT_EQ(set(first), 0u);
  EXPECT_EQ(set(second), first);
  EXPECT_EQ(Get(FindByAlias(*Read(), run.id, "prod"))->id, second);
  EXPECT_FALSE(Get(FindByAlias(*Read(), other.id, "prod")));
  EXPECT_THAT(Get(FindCheckpoint(*Read(), first))->aliases, IsEmpty());
  EXPECT_THAT(Get(FindCheckpoint(*Read(), second))->aliases, ElementsAre("prod"));
  EXPECT_EQ(SetAlias(*Write(), run.id, "prod", foreign, now_).status().code(),
            absl::StatusCode::kNotFound);
  Change([&](WriteTxn& txn) {
    EXPECT_TRUE(Get(RemoveAlias(txn, run.id, "prod")));
    EXPECT_FALSE(Get(RemoveAlias(txn, run.id, "prod")));
  });
  EXPECT_FALSE(Get(FindByAlias(*Read(), run.id, "prod")));
}

TEST_F(CheckpointsTest, ATombstoneKeepsItsReasons) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1, .metrics = {{"loss", 1.5}}});
  const std::vector<ckpt::Reason> reasons = {
      {ckpt::Reason::Rule::kSuperseded, "not among the last 3"},
      {ckpt::Reason::Rule::kDamaged, "chunk \"x\" is damaged"}};
  Change([&](WriteTxn& txn) {
    Do(MarkRemoved(txn, id, reasons, now_ + absl::Hours(1), now_ + absl::Hours(2)));
  });
  const auto checkpoint = Get(FindCheckpoint(*Read(), id));
  EXPECT_EQ(checkpoint->removed_at, now_ + absl::Hours(1));
  EXPECT_EQ(checkpoint->restorable_until, now_ + absl::Hours(2));
  EXPECT_EQ(checkpoint->verdict, (ckpt::Verdict{false, reasons}));
  EXPECT_THAT(checkpoint->metrics, ElementsAre(Pair("loss", 1.5)));
  EXPECT_EQ(ckpt::ReasonOf(MarkRemoved(*Write(), id, {}, now_, std::nullopt)),
            ckpt::reason::kCheckpointRemoved);
}

TEST_F(CheckpointsTest, WhatIsHeldIsNotRemoved) {
  const RunRow run = MakeRun("a");
  const uint64_t pinned = Push(run, {.step = 1}), aliased = Push(run, {.step = 2});
  Change([&](WriteTxn& txn) {
    Do(AddPin(txn, pinned, "x", now_));
    Get(SetAlias(txn, run.id, "y", aliased, now_));
  });
  for (const uint64_t id : {pinned, aliased}) {
    EXPECT_EQ(ckpt::ReasonOf(MarkRemoved(*Write(), id, {}, now_, std::nullopt)),
              ckpt::reason::kCheckpointHeld);
  }
}

TEST_F(CheckpointsTest, FiguresFollowCommitRemovalAndRestoring) {
  const RunRow run = MakeRun("a");
  const auto figures = [&] {
    const RunFigures f = Get(GetRunFigures(*Read(), run.id));
    return std::vector<uint64_t>{f.checkpoints, f.removed, f.bytes};
  };
  EXPECT_THAT(figures(), ElementsAre(0, 0, 0));
  const uint64_t id = Push(run, {.step = 1, .seeds = {1, 2}});
  Push(run, {.step = 2, .seeds = {2}});
  EXPECT_THAT(figures(), ElementsAre(2, 0, 3 * kLength));
  Remove(id, now_ + absl::Hours(1));
  EXPECT_THAT(figures(), ElementsAre(1, 1, 1 * kLength));
  Change([&](WriteTxn& txn) { Do(MarkRestored(txn, id)); });
  EXPECT_THAT(figures(), ElementsAre(2, 0, 3 * kLength));
  const auto restored = Get(FindCheckpoint(*Read(), id));
  EXPECT_FALSE(restored->removed_at);
  EXPECT_FALSE(restored->restorable_until);
  EXPECT_THAT(restored->verdict.reasons, IsEmpty());
  ExpectSound();
}

TEST_F(CheckpointsTest, OnlyWhatIsRemovedAndStillHasItsSpaceIsRestored) {
  const RunRow run = MakeRun("a");
  const uint64_t live = Push(run, {.step = 1}), gone = Push(run, {.step = 2});
  Remove(gone);
  Release(gone);
  for (const uint64_t id : {live, gone}) {
    EXPECT_EQ(ckpt::ReasonOf(MarkRestored(*Write(), id)), ckpt::reason::kNotRestorable);
  }
  EXPECT_EQ(MarkRestored(*Write(), 99).code(), absl::StatusCode::kNotFound);
}

TEST_F(CheckpointsTest, ReclaimableIsWhatIsRemovedAndPastItsGrace) {
  const RunRow run = MakeRun("a");
  for (uint64_t step = 1; step <= 4; ++step) Push(run, {.step = step});
  Remove(1, now_ + absl::Hours(2));
  Remove(2, now_ + absl::Hours(1));
  Remove(3);
  EXPECT_THAT(Get(ListReclaimable(*Read(), now_)), ElementsAre(3));
  EXPECT_THAT(Get(ListReclaimable(*Read(), now_ - absl::Hours(9))), ElementsAre(3))
      << "the clock was set back since";
  EXPECT_EQ(Get(NextReclaimable(*Read(), now_)), now_ + absl::Hours(1));
  EXPECT_THAT(Get(ListReclaimable(*Read(), now_ + absl::Hours(1))), ElementsAre(3, 2));
  Release(3);
  EXPECT_THAT(Get(ListReclaimable(*Read(), now_ + absl::Hours(3))), ElementsAre(2, 1));
  Change([&](WriteTxn& txn) { Do(MarkRestored(txn, 1)); });
  EXPECT_THAT(Get(ListReclaimable(*Read(), now_ + absl::Hours(3))), ElementsAre(2));
  EXPECT_FALSE(Get(NextReclaimable(*Read(), now_ + absl::Hours(1))));
}

TEST_F(CheckpointsTest, DamageIsTextAndHeals) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1});
  for (const std::string damage : {"chunk 3 of rank 0 does not match its digest", ""}) {
    Change([&](WriteTxn& txn) { Do(SetDamage(txn, id, damage)); });
    EXPECT_EQ(Get(FindCheckpoint(*Read(), id))->damage, damage);
  }
  EXPECT_EQ(SetDamage(*Write(), 99, "x").code(), absl::StatusCode::kNotFound);
}

TEST_F(CheckpointsTest, AManifestIsFoundByRankOfACommittedCheckpoint) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1, .seeds = {3, 1, 3}});
  EXPECT_EQ(*Get(FindManifest(*Read(), id, 0)), ManifestOf({3, 1, 3}));
  EXPECT_FALSE(Get(FindManifest(*Read(), id, 1)));
  EXPECT_FALSE(Get(FindManifest(*Read(), 99, 0)));
}

}  // namespace
}  // namespace ckptd::catalog
