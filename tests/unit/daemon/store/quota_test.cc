// A project's quota: pushes past it are refused, where they begin and again
// where they commit.
#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

using ckpt::QuotaChange;

class QuotaTest : public StoreTest {
 protected:
  static QuotaChange::Limit At(uint64_t limit) { return {.limit = limit}; }
  void Set(const QuotaChange& change, const std::string& project = "default") {
    Get(store_->SetQuota(project, change));
  }
  ckpt::Quota Quota(const std::string& project = "default") {
    return Get(store_->GetQuota(project));
  }
  // What the push of a step of its own comes to.
  std::string TryStep(uint64_t step, uint64_t attempt = 1,
                      const ckpt::RunName& run = {"default", "r"}) {
    return Why(TryPush({.attempt = attempt,
                        .step = step,
                        .seeds = {static_cast<int>(step + 100 * attempt)},
                        .run = run}));
  }
  static ckpt::Policy KeepAll() { return {}; }
};

// A chunk of 8000 bytes and its header take three blocks.
constexpr uint64_t kStored = 3 * 4096;

TEST_F(QuotaTest, ThereIsNoneUnlessOneIsSet) {
  const ckpt::Quota quota = Quota("new");
  EXPECT_EQ(quota.project, "new");
  for (const auto& limit : {quota.bytes, quota.checkpoints, quota.uploads}) {
    EXPECT_EQ(limit.limit, 0u);
    EXPECT_TRUE(limit.is_default);
    EXPECT_EQ(limit.used, 0u);
  }
}

TEST_F(QuotaTest, TheDaemonsDefaultIsForProjectsWithoutTheirOwn) {
  store_->SetDefaultQuota({.bytes = 100, .checkpoints = 7, .uploads = 2});
  Set({.bytes = At(5000), .uploads = At(0)}, "own");
  EXPECT_EQ(Quota("other").bytes.limit, 100u);
  ckpt::Quota own = Quota("own");
  EXPECT_EQ(own.bytes.limit, 5000u);
  EXPECT_FALSE(own.bytes.is_default);
  EXPECT_EQ(own.uploads.limit, 0u);
  EXPECT_FALSE(own.uploads.is_default);
  EXPECT_EQ(own.checkpoints.limit, 7u);
  EXPECT_TRUE(own.checkpoints.is_default);
  Set({.bytes = QuotaChange::Limit{}}, "own");  // back to the default; the rest stays
  Reopen();
  store_->SetDefaultQuota({.bytes = 100});
  own = Quota("own");
  EXPECT_EQ(own.bytes.limit, 100u);
  EXPECT_TRUE(own.bytes.is_default);
  EXPECT_FALSE(own.uploads.is_default);
}

TEST_F(QuotaTest, OneCheckpointMoreIsRefusedWhereThePushBegins) {
  Attempt("a", 1, r_, KeepAll());
  Set({.checkpoints = At(2)});
  EXPECT_EQ(TryStep(1), "OK");
  EXPECT_EQ(TryStep(2), "OK");
  const auto refused = Begin({.step = 3, .seeds = {3}});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Why(refused), ckpt::reason::kQuotaExceeded);
  EXPECT_THAT(std::string(refused.status().message()),
              testing::HasSubstr("project default may have 2 checkpoints and would have 3"));
  EXPECT_EQ(Quota().checkpoints.used, 2u);
  EXPECT_EQ(Quota().uploads.used, 0u);  // nothing is left behind
  // What is there can be pushed again, and looked at.
  EXPECT_EQ(TryStep(2), "OK");
  EXPECT_EQ(Steps(), (std::vector<uint64_t>{2, 1}));
}

TEST_F(QuotaTest, WhatRetentionLetsGoMakesRoom) {
  Attempt("a", 1, r_, KeepLast(2));
  Set({.checkpoints = At(3)});
  for (uint64_t step = 1; step <= 6; ++step) EXPECT_EQ(TryStep(step), "OK") << step;
  EXPECT_EQ(Steps(), (std::vector<uint64_t>{6, 5}));
}

TEST_F(QuotaTest, AllRunsOfAProjectShareItAndOtherProjectsDoNot) {
  const ckpt::RunName other{"other", "r"};
  Attempt("a", 1, r_, KeepAll());
  Attempt("a", 1, Run("s"), KeepAll());
  Attempt("a", 1, other, KeepAll());
  Set({.checkpoints = At(1)});
  EXPECT_EQ(TryStep(1), "OK");
  EXPECT_EQ(TryStep(2, 1, Run("s")), ckpt::reason::kQuotaExceeded);
  EXPECT_EQ(TryStep(2, 1, other), "OK");
  EXPECT_EQ(TryStep(3, 1, other), "OK");
}

TEST_F(QuotaTest, RanksOfOneCheckpointTakeOnePlaceAndAnUploadEach) {
  Attempt("a", 3);
  Set({.checkpoints = At(1), .uploads = At(2)});
  EXPECT_EQ(Why(Begin({.step = 1, .seeds = {1}, .rank = 0})), "OK");
  EXPECT_EQ(Why(Begin({.step = 1, .seeds = {2}, .rank = 1})), "OK");
  EXPECT_EQ(Why(Begin({.step = 1, .seeds = {3}, .rank = 2})), ckpt::reason::kQuotaExceeded);
  EXPECT_EQ(Quota().uploads.used, 2u);
  EXPECT_EQ(Quota().checkpoints.used, 1u);
  // The same again is no other upload; one that is durable is none any more.
  EXPECT_EQ(Why(TryPush({.step = 1, .seeds = {1}, .rank = 0})), "OK");
  EXPECT_EQ(Why(TryPush({.step = 1, .seeds = {3}, .rank = 2})), "OK");
  EXPECT_EQ(Why(TryPush({.step = 1, .seeds = {2}, .rank = 1})), "OK");
  EXPECT_EQ(Steps(), (std::vector<uint64_t>{1}));
}

TEST_F(QuotaTest, WhatAnOlderAttemptLeftOpenTakesNoPlace) {
  Attempt("a");
  Set({.checkpoints = At(1), .uploads = At(1)});
  EXPECT_EQ(Why(Begin({.step = 1, .seeds = {1}})), "OK");
  EXPECT_EQ(Why(Begin({.step = 2, .seeds = {2}})), ckpt::reason::kQuotaExceeded);
  const uint64_t next = Attempt("b");
  EXPECT_EQ(TryStep(2, next), "OK");
}

TEST_F(QuotaTest, BytesAreThoseOnDiskAndThoseAnnounced) {
  Attempt("a", 1, r_, KeepAll());
  EXPECT_EQ(Why(TryPush({.step = 1, .seeds = {1}})), "OK");
  const uint64_t stored = Quota().bytes.used;
  EXPECT_GE(stored, kChunkBytes);
  EXPECT_LE(stored, kStored);
  // Room for two that are announced, not for three.
  Set({.bytes = At(stored + 2 * kChunkBytes + kStored)});
  EXPECT_EQ(Why(Begin({.step = 2, .seeds = {2}})), "OK");
  EXPECT_EQ(Quota().bytes.used, stored + kChunkBytes);
  EXPECT_EQ(Why(Begin({.step = 3, .seeds = {3}})), "OK");
  const auto refused = Begin({.step = 4, .seeds = {4}});
  EXPECT_EQ(Why(refused), ckpt::reason::kQuotaExceeded);
  EXPECT_THAT(std::string(refused.status().message()), testing::HasSubstr("bytes on disk"));
  // Shared bytes take nothing.
  EXPECT_EQ(Why(Begin({.step = 5, .seeds = {1}})), "OK");
}

TEST_F(QuotaTest, WhatCouldBeRestoredCountsAndWhatIsGivenBackDoesNot) {
  ckpt::Policy policy = KeepLast(1);
  policy.restore_grace = absl::Hours(1);
  Attempt("a", 1, r_, policy);
  EXPECT_EQ(TryStep(1), "OK");
  const uint64_t one = Quota().bytes.used;
  EXPECT_EQ(TryStep(2), "OK");
  EXPECT_EQ(Steps(), (std::vector<uint64_t>{2}));
  EXPECT_EQ(Quota().bytes.used, 2 * one);
  Set({.bytes = At(2 * one)});
  EXPECT_EQ(TryStep(3), ckpt::reason::kQuotaExceeded);
  clock_.Advance(absl::Hours(2));
  EXPECT_EQ(Quota().bytes.used, one);
  EXPECT_TRUE(Eventually([&] { return Get(store_->GetStats(std::nullopt)).chunks == 1; }));
  Set({.bytes = At(2 * one + 8192)});
  EXPECT_EQ(TryStep(3), "OK");
}

TEST_F(QuotaTest, ALimitSetWhileAPushIsUnderWayIsAskedAgainAtItsCommit) {
  Attempt("a", 1, r_, KeepAll());
  EXPECT_EQ(TryStep(1), "OK");
  struct Case {
    const char* what;
    QuotaChange change;
  };
  uint64_t step = 10;
  for (const Case& c :
       {Case{"bytes", {.bytes = At(kChunkBytes)}}, Case{"checkpoints", {.checkpoints = At(1)}}}) {
    SCOPED_TRACE(c.what);
    const Shard shard{.step = ++step, .seeds = {static_cast<int>(step)}};
    const Store::OpenedUpload opened = Get(Begin(shard));
    EXPECT_EQ(Why(Send(shard, opened)), "OK");
    Set(c.change);
    EXPECT_EQ(Why(store_->CommitShard(opened.upload_id)), ckpt::reason::kQuotaExceeded);
    EXPECT_EQ(Steps().front(), 1u);
    Set({.bytes = At(0), .checkpoints = At(0)});
    EXPECT_EQ(Why(store_->CommitShard(opened.upload_id)), "OK");
    EXPECT_EQ(Steps().front(), step);
    Get(store_->DeleteCheckpoints(r_, {List().front().id}, false));
  }
}

TEST_F(QuotaTest, ARefusedPushLeavesNothingOnDisk) {
  Attempt("a", 1, r_, KeepAll());
  EXPECT_EQ(TryStep(1), "OK");
  const uint64_t before = DiskBytes();
  Set({.bytes = At(kChunkBytes)});
  for (uint64_t step = 2; step < 6; ++step) {
    EXPECT_EQ(TryStep(step), ckpt::reason::kQuotaExceeded);
  }
  EXPECT_TRUE(IsReclaimed());
  EXPECT_EQ(DiskBytes(), before);
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).open_uploads, 0u);
}

}  // namespace
}  // namespace ckptd
