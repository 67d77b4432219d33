// What the store says to whoever runs it: what it counted, how it is, what is
// under way; and that it takes nothing new once it drains.
#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

using Rule = ckpt::Reason::Rule;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class OperationTest : public StoreTest {
 protected:
  uint64_t Of(const std::array<Counter, Metrics::kRules>& counters, Rule rule) {
    return counters[static_cast<size_t>(rule)].value();
  }
  const Metrics& counted() { return store_->metrics(); }
};

TEST_F(OperationTest, CountsWhatAPushBroughtAndWhatItShared) {
  const uint64_t attempt = Attempt("a");
  const ckpt::Checkpoint first = Push({.attempt = attempt, .step = 1, .seeds = {1, 2, 2}});
  EXPECT_EQ(counted().pushes.value(), 1u);
  EXPECT_EQ(counted().pushed_bytes.value(), 3 * kChunkBytes);
  EXPECT_EQ(counted().shared_bytes.value(), kChunkBytes) << "one is in it twice";
  EXPECT_EQ(counted().stored_bytes.value(), first.stored_bytes);
  const ckpt::Checkpoint second = Push({.attempt = attempt, .step = 2, .seeds = {1, 2, 3}});
  EXPECT_EQ(counted().pushes.value(), 2u);
  EXPECT_EQ(counted().pushed_bytes.value(), 6 * kChunkBytes);
  EXPECT_EQ(counted().shared_bytes.value(), 3 * kChunkBytes);
  EXPECT_EQ(counted().stored_bytes.value(), first.stored_bytes + second.stored_bytes);
  EXPECT_EQ(counted().checkpoints_committed.value(), 2u);
  EXPECT_EQ(counted().commit_seconds.Get().count, 2u);
  EXPECT_EQ(counted().catalog_commit_seconds.Get().count, 2u);
}

TEST_F(OperationTest, CountsAShardThatIsCommittedTwiceOnce) {
  const uint64_t attempt = Attempt("a", 2);
  const Shard shard{.attempt = attempt, .step = 1, .rank = 0};
  Get(TryPush(shard));
  Get(TryPush(shard));
  EXPECT_EQ(counted().pushes.value(), 1u);
  EXPECT_EQ(counted().checkpoints_committed.value(), 0u);
  Get(TryPush({.attempt = attempt, .step = 1, .rank = 1}));
  EXPECT_EQ(counted().pushes.value(), 2u);
  EXPECT_EQ(counted().checkpoints_committed.value(), 1u);
}

TEST_F(OperationTest, CountsVerdictsThatHadTheirEffectAndWhatCameBack) {
  PushSteps("a", {1, 2, 3, 4});  // the default: the last three stay
  EXPECT_EQ(counted().checkpoints_removed.value(), 1u);
  EXPECT_EQ(Of(counted().removed_by, Rule::kSuperseded), 1u);
  EXPECT_EQ(Of(counted().kept_by, Rule::kNewest), 4u) << "one at each commit";
  EXPECT_EQ(Of(counted().kept_by, Rule::kLast), 1u + 2 + 3 + 3);

  Get(store_->SetPolicy(r_, KeepLast(1), /*dry_run=*/true, 0));
  Get(store_->Prune(r_, /*dry_run=*/true));
  EXPECT_EQ(counted().checkpoints_removed.value(), 1u) << "a dry run removes nothing";
  SetPolicy(KeepLast(1));
  EXPECT_EQ(counted().checkpoints_removed.value(), 3u);
  EXPECT_EQ(Of(counted().removed_by, Rule::kSuperseded), 3u);

  Get(store_->DeleteRun(r_, /*dry_run=*/false));
  EXPECT_EQ(counted().checkpoints_removed.value(), 4u);
  EXPECT_EQ(Of(counted().removed_by, Rule::kDeleted), 1u);
  ASSERT_TRUE(IsReclaimed());
  EXPECT_EQ(counted().reclaimed_bytes.value(), counted().stored_bytes.value());
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).stored_bytes, 0u);
}

TEST_F(OperationTest, CountsWhatTheBudgetTook) {
  const auto ids = PushSteps("a", {1, 2, 3});
  const uint64_t one = Get(store_->GetCheckpoint(ids.at(1))).stored_bytes;
  Get(store_->SetBudget("default", 2 * one, /*dry_run=*/true));
  EXPECT_EQ(Of(counted().removed_by, Rule::kBudget), 0u);
  Get(store_->SetBudget("default", 2 * one, /*dry_run=*/false));
  EXPECT_EQ(Of(counted().removed_by, Rule::kBudget), 1u);
  EXPECT_EQ(counted().checkpoints_removed.value(), 1u);
  Push({.attempt = 1, .step = 4});  // the oldest has to go for it
  EXPECT_EQ(counted().checkpoints_removed.value(), 2u);
}

TEST_F(OperationTest, CountsDamageOnceHoweverOftenItIsRead) {
  const uint64_t attempt = Attempt("a");
  Push({.attempt = attempt, .step = 1, .seeds = {1, 2}});
  const uint64_t id = Push({.attempt = attempt, .step = 2, .seeds = {1, 2, 3}}).id;
  Corrupt(id);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(store_->Verify(r_, id, [](const auto&) { return true; }).ok());
  }
  EXPECT_GE(counted().damaged_chunks.value(), 1u);
  const uint64_t flagged = counted().damaged_checkpoints.value();
  EXPECT_TRUE(flagged == 1 || flagged == 2) << flagged;  // whether it was a shared chunk
  EXPECT_TRUE(store_->Verify(r_, id, [](const auto&) { return true; }).ok());
  EXPECT_EQ(counted().damaged_checkpoints.value(), flagged);
}

TEST_F(OperationTest, IsReadyUntilSomethingIsWrong) {
  EXPECT_TRUE(store_->GetHealth().ready);
  EXPECT_THAT(store_->GetHealth().problems, IsEmpty());

  options_.keep_free_bytes = 1000;
  Reopen();
  fs_.SetFreeBytes(999);
  Store::Health health = store_->GetHealth();
  EXPECT_FALSE(health.ready);
  EXPECT_TRUE(health.live) << "to start it anew would free nothing";
  EXPECT_THAT(health.problems, ElementsAre(HasSubstr("999 bytes are free")));
  fs_.SetFreeBytes(1000);
  EXPECT_TRUE(store_->GetHealth().ready);
  fs_.SetFreeBytes(std::nullopt);

  store_->Drain();
  health = store_->GetHealth();
  EXPECT_TRUE(health.draining);
  EXPECT_FALSE(health.ready);
  EXPECT_TRUE(health.live);
  EXPECT_THAT(health.problems, ElementsAre(HasSubstr("draining")));
}

TEST_F(OperationTest, DrainingTakesNothingNewAndLetsTheRestEnd) {
  const uint64_t attempt = Attempt("a");
  const Shard under_way{.attempt = attempt, .step = 1, .seeds = {1, 2, 3}};
  const auto opened = Get(Begin(under_way));
  ASSERT_EQ(Why(Send(under_way, opened, 1)), "OK");
  store_->Drain();

  EXPECT_EQ(Why(Begin({.attempt = attempt, .step = 2})), ckpt::reason::kDraining);
  const auto another = store_->OpenAttempt(r_, "b", 1, std::nullopt, false);
  EXPECT_EQ(Why(another), ckpt::reason::kDraining);
  EXPECT_TRUE(absl::IsUnavailable(another.status()));
  EXPECT_EQ(Why(store_->OpenAttempt(Run("other"), "a", 1, std::nullopt, false)),
            ckpt::reason::kDraining);
  EXPECT_THAT(Get(store_->ListRuns("default", "", std::nullopt, 10)), ::testing::SizeIs(1));

  // It may ask again what is missing, send it, and commit.
  const auto again = Get(Begin(under_way));
  EXPECT_EQ(again.upload_id, opened.upload_id);
  EXPECT_THAT(again.missing_chunks, ElementsAre(1, 2));
  ASSERT_EQ(Why(Send(under_way, again)), "OK");
  EXPECT_TRUE(Get(store_->CommitShard(again.upload_id)).checkpoint.has_value());
  // And hear about it again.
  EXPECT_TRUE(Get(Begin(under_way)).result.has_value());
}

TEST_F(OperationTest, SaysWhatIsUnderWay) {
  EXPECT_EQ(store_->GetLoad().open_uploads, 0u);
  EXPECT_EQ(store_->GetLoad().oldest_active, "");
  const uint64_t attempt = Attempt("a");
  const Shard shard{.attempt = attempt, .step = 7, .seeds = {1, 2, 3}};
  const auto opened = Get(Begin(shard));
  ASSERT_EQ(Why(Send(shard, opened, 1)), "OK");
  const Store::Load load = store_->GetLoad();
  EXPECT_EQ(load.open_uploads, 1u);
  EXPECT_EQ(load.active_uploads, 1u);
  EXPECT_EQ(load.missing_bytes, 2 * kChunkBytes);
  EXPECT_EQ(load.oldest_active, "r@7 rank 0, 16000 bytes of 24000 missing");
  // A client that does not come back is not waited for; one that is there is.
  EXPECT_TRUE(Eventually([&] { return store_->GetLoad().active_uploads == 0; }));
  EXPECT_EQ(store_->GetLoad().open_uploads, 1u);
  {
    const auto held = Get(store_->FindUpload(opened.upload_id));
    std::this_thread::sleep_for(std::chrono::milliseconds(1200));
    EXPECT_EQ(store_->GetLoad().active_uploads, 1u);
  }
  ASSERT_EQ(Why(store_->AbortUpload(opened.upload_id)), "OK");
  EXPECT_EQ(store_->GetLoad().open_uploads, 0u);
}

TEST_F(OperationTest, KnowsWhatTheCatalogTakes) {
  const uint64_t before = Get(store_->GetCatalogBytes());
  EXPECT_GT(before, 0u);
  const uint64_t attempt = Attempt("a");
  for (uint64_t step = 1; step <= 50; ++step) Push({.attempt = attempt, .step = step});
  EXPECT_GT(Get(store_->GetCatalogBytes()), before);
}

}  // namespace
}  // namespace ckptd
