// What the store says to whoever runs it: what it counted.
#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

using Rule = ckpt::Reason::Rule;

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

}  // namespace
}  // namespace ckptd
