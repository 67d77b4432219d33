// Attempts, uploads and commits.
#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(StoreTest, EveryRestartGetsAHigherNumberAndARepeatedCallTheSame) {
  const auto first = Get(store_->OpenAttempt(r_, "a", 1, std::nullopt, false));
  EXPECT_TRUE(first.run_created);
  EXPECT_EQ(first.attempt.number, 1u);
  const auto again = Get(store_->OpenAttempt(r_, "a", 1, std::nullopt, false));
  EXPECT_EQ(again.attempt.number, 1u);
  EXPECT_EQ(Attempt("b"), 2u);
  EXPECT_EQ(Attempt("a"), 1u);
  EXPECT_EQ(Get(store_->GetRun(r_)).run.newest_attempt, 2u);
}

TEST_F(StoreTest, OpenAttemptIsRefused) {
  EXPECT_EQ(Why(store_->OpenAttempt(r_, "a", 1, std::nullopt, true)), "RUN_NOT_FOUND");
  Attempt("a", 2);
  EXPECT_EQ(Why(store_->OpenAttempt(r_, "a", 3, std::nullopt, false)), "WORLD_SIZE_DIFFERS");
}

TEST_F(StoreTest, AnInitialPolicyIsTakenOnlyByTheCallThatCreatesTheRun) {
  Attempt("a", 1, r_, KeepLast(7));
  Attempt("b", 1, r_, KeepLast(9));
  const auto policy = Get(store_->GetPolicy(r_));
  EXPECT_EQ(policy.policy.keep_last, 7u);
  EXPECT_FALSE(policy.is_default);
}

TEST_F(StoreTest, AnUploadOpenedAgainSaysWhatIsStillMissing) {
  Attempt("a");
  const Shard shard{.seeds = {1, 2, 3, 2}};
  const auto opened = Get(Begin(shard));
  EXPECT_THAT(opened.missing_chunks, ElementsAre(0, 1, 2));  // the fourth is the second
  EXPECT_EQ(opened.missing_bytes, 3 * kChunkBytes);
  ASSERT_TRUE(SendOne(shard, opened.upload_id, 1).ok());
  const auto again = Get(Begin(shard));
  EXPECT_EQ(again.upload_id, opened.upload_id);
  EXPECT_THAT(again.missing_chunks, ElementsAre(0, 2));
  EXPECT_EQ(again.missing_bytes, 2 * kChunkBytes);
  EXPECT_EQ(Why(store_->CommitShard(opened.upload_id)), "CHUNKS_MISSING");
  ASSERT_TRUE(Send(shard, again).ok());
  EXPECT_EQ(Why(store_->CommitShard(opened.upload_id)), "OK");
}

TEST_F(StoreTest, ARepeatedCommitAnswersAsTheFirstDid) {
  Attempt("a");
  const Shard shard{.step = 5, .seeds = {1}};
  const auto opened = Get(Begin(shard));
  ASSERT_TRUE(Send(shard, opened).ok());
  const auto first = Get(store_->CommitShard(opened.upload_id));
  const auto second = Get(store_->CommitShard(opened.upload_id));
  const auto third = Get(Begin(shard));
  Reopen();
  const auto fourth = Get(store_->CommitShard(opened.upload_id));
  ASSERT_TRUE(third.result.has_value());
  for (const auto* result : {&first, &second, &*third.result, &fourth}) {
    EXPECT_EQ(result->shards_durable, 1u);
    ASSERT_TRUE(result->checkpoint.has_value());
    EXPECT_EQ(result->checkpoint->id, first.checkpoint->id);
    EXPECT_EQ(ckpt::ReasonsText(result->checkpoint->verdict),
              "newest on the current timeline, last 1/3");
  }
  EXPECT_THAT(Steps(), ElementsAre(5));
}

TEST_F(StoreTest, AStepsContentCannotChangeWithinAnAttempt) {
  Attempt("a");
  const auto open = Get(Begin({.step = 5, .seeds = {1}}));
  EXPECT_EQ(Why(Begin({.step = 5, .seeds = {2}})), "STEP_CONTENT_DIFFERS");
  EXPECT_EQ(Why(TryPush({.step = 5, .seeds = {1}})), "OK");
  EXPECT_EQ(Why(Begin({.step = 5, .seeds = {2}})), "STEP_CONTENT_DIFFERS");
  EXPECT_THAT(Steps(), ElementsAre(5));
}

TEST_F(StoreTest, CallsThatNameWhatIsNotThere) {
  EXPECT_EQ(Why(Begin({})), "RUN_NOT_FOUND");
  Attempt("a");
  EXPECT_EQ(Why(Begin({.attempt = 2})), "ATTEMPT_NOT_FOUND");
  EXPECT_EQ(Why(Begin({.rank = 1})), "BAD_FIELD");
  for (const char* id : {"", "u", "u0", "u-1", "u99", "x1", "u1x", "u99999999999999999999"}) {
    SCOPED_TRACE(id);
    EXPECT_EQ(Why(store_->CommitShard(id)), "UPLOAD_NOT_FOUND");
    EXPECT_EQ(Why(store_->AbortUpload(id)), "UPLOAD_NOT_FOUND");
    EXPECT_EQ(Why(store_->FindUpload(id)), "UPLOAD_NOT_FOUND");
  }
}

TEST_F(StoreTest, BytesThatAreNotTheDigestsAreRefusedAndTheUploadGoesOn) {
  Attempt("a");
  const Shard lie{.seeds = {1}, .good = false};
  const auto opened = Get(Begin(lie));
  EXPECT_EQ(Why(Send(lie, opened)), "DIGEST_MISMATCH");
  EXPECT_THAT(PackFiles(), IsEmpty());
  EXPECT_EQ(Why(SendOne({.seeds = {1, 2}}, opened.upload_id, 1)), "BAD_FRAME");
  EXPECT_EQ(Why(TryPush({.seeds = {1}})), "OK");
}

TEST_F(StoreTest, AKnownDigestWithAnotherLengthIsRefused) {
  Attempt("a");
  Push({.step = 1, .seeds = {1}});
  Store::UploadRequest request;
  request.run = r_;
  request.attempt = 1;
  request.step = 2;
  request.manifest = ManifestOf({1});
  request.manifest.chunks[0].length -= 1;
  request.manifest.entries[0].length -= 1;
  EXPECT_EQ(Why(store_->OpenUpload(request)), "BAD_MANIFEST");
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).open_uploads, 0u);
}

TEST_F(StoreTest, ANewAttemptFencesTheOneBefore) {
  Attempt("a");
  const Shard open{.step = 1}, committed{.step = 2}, fresh{.step = 3};
  const auto upload = Get(Begin(open));
  ASSERT_TRUE(Send(open, upload).ok());
  const uint64_t id = Push(committed).id;
  Attempt("b");
  EXPECT_EQ(Why(Begin(fresh)), "ATTEMPT_FENCED");
  EXPECT_EQ(Why(Begin(open)), "ATTEMPT_FENCED");
  // What it held is gone at once, so that the next attempt has the space.
  EXPECT_EQ(Why(store_->CommitShard(upload.upload_id)), "ATTEMPT_FENCED");
  // What it did commit is still answered.
  EXPECT_EQ(Get(TryPush(committed)).checkpoint->id, id);
  EXPECT_THAT(Steps(), ElementsAre(2));
}

TEST_F(StoreTest, ACommitUnderWayWhenANewAttemptOpensIsFenced) {
  Attempt("a");
  const Shard shard{.step = 1};
  const auto opened = Get(Begin(shard));
  ASSERT_TRUE(Send(shard, opened).ok());
  const std::shared_ptr<Upload> held = Get(store_->FindUpload(opened.upload_id));
  Attempt("b");
  // The stream still holds its upload; its pack is no longer of use, and goes.
  EXPECT_TRUE(Eventually([&] { return PackFiles().empty(); }));
  EXPECT_EQ(Why(held->Finish()), "OK");
  EXPECT_NE(Why(store_->CommitShard(opened.upload_id)), "OK");
  EXPECT_THAT(Steps(), IsEmpty());
}

TEST_F(StoreTest, DeletingARunResetsNoNumber) {
  PushSteps("a", {1});
  Attempt("b");
  Get(store_->DeleteRun(r_, false));
  EXPECT_EQ(Why(store_->GetRun(r_)), "RUN_NOT_FOUND");
  const auto opened = Get(store_->OpenAttempt(r_, "c", 1, std::nullopt, false));
  EXPECT_TRUE(opened.run_created);
  EXPECT_EQ(opened.attempt.number, 3u);
  EXPECT_EQ(Why(Begin({.attempt = 2, .step = 2})), "ATTEMPT_FENCED");
}

TEST_F(StoreTest, ARunOpenedAgainAfterItsDeletionGetsANewAttemptForTheSameLaunch) {
  const auto before = PushSteps("a", {10});
  Get(store_->DeleteRun(r_, false));
  EXPECT_EQ(Attempt("a"), 2u);
  EXPECT_EQ(Attempt("a"), 2u);
  Push({.attempt = 2, .step = 5});
  EXPECT_EQ(Latest(), 5u);
}

TEST_F(StoreTest, NothingIsCommittedIntoADeletedRun) {
  Attempt("a");
  const Shard shard{.step = 1};
  const auto opened = Get(Begin(shard));
  ASSERT_TRUE(Send(shard, opened).ok());
  const std::shared_ptr<Upload> held = Get(store_->FindUpload(opened.upload_id));
  Get(store_->DeleteRun(r_, false));
  EXPECT_NE(Why(store_->CommitShard(opened.upload_id)), "OK");
  EXPECT_TRUE(Eventually([&] { return Get(store_->GetStats(std::nullopt)).open_uploads == 0; }));
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).checkpoints, 0u);
}

TEST_F(StoreTest, ACheckpointOfFourRanksIsCommittedByTheLastAndSeenByNobodyBefore) {
  Attempt("a", 4);
  for (const uint32_t rank : {2u, 0u, 3u}) {
    const auto result = Get(TryPush({.step = 7, .rank = rank}));
    EXPECT_EQ(result.world_size, 4u);
    EXPECT_FALSE(result.checkpoint.has_value());
    EXPECT_THAT(Steps(), IsEmpty());
    EXPECT_EQ(Latest(), 0u);
  }
  EXPECT_EQ(Why(store_->Resolve(r_, ckpt::SelectStep{7}, true)), "SELECTOR_MATCHES_NOTHING");
  EXPECT_EQ(Get(Resume(1)).outcome, Store::Outcome::kNewRun);
  const auto last = Get(TryPush({.step = 7, .rank = 1}));
  EXPECT_EQ(last.shards_durable, 4u);
  ASSERT_TRUE(last.checkpoint.has_value());
  EXPECT_EQ(last.checkpoint->bytes, 4 * kChunkBytes);
  EXPECT_THAT(Steps(), ElementsAre(7));
  // Now each rank is told.
  EXPECT_EQ(Get(TryPush({.step = 7, .rank = 2})).checkpoint->id, last.checkpoint->id);
  for (uint32_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(Why(store_->OpenReader(last.checkpoint->id, rank)), "OK");
  }
  EXPECT_EQ(Why(store_->OpenReader(last.checkpoint->id, 4)), "RANK_NOT_FOUND");
}

TEST_F(StoreTest, AnUnfinishedCheckpointTakesNoSlotOfTheRules) {
  Attempt("a", 2, r_, KeepLast(1));
  for (const uint32_t rank : {0u, 1u}) Get(TryPush({.step = 1, .rank = rank}));
  for (const uint64_t step : {2u, 3u, 4u}) Get(TryPush({.step = step, .rank = 0}));
  EXPECT_THAT(Steps(), ElementsAre(1));
}

TEST_F(StoreTest, UnfinishedShardsAreKeptForTheNextTryUntilTheirDeadline) {
  Attempt("a", 2);
  Get(TryPush({.step = 1, .rank = 0}));
  clock_.Advance(absl::Hours(23));
  Reopen();
  EXPECT_EQ(Get(Begin({.step = 1, .rank = 0})).result->shards_durable, 1u);
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).open_uploads, 1u);
  clock_.Advance(absl::Hours(2));
  EXPECT_TRUE(Eventually([&] { return Get(store_->GetStats(std::nullopt)).open_uploads == 0; }));
  EXPECT_THAT(History(), ::testing::Contains(HasSubstr("rank 0 dropped: it was not finished by")));
  EXPECT_TRUE(Eventually([&] { return PackFiles().empty(); }));
}

TEST_F(StoreTest, UnfinishedShardsOfAnOlderAttemptGoOnceANewerHasCommitted) {
  Attempt("a", 2);
  Get(TryPush({.step = 1, .seeds = {1}, .rank = 0}));
  Attempt("b");
  // Until then the new attempt need not send what they hold.
  EXPECT_THAT(Get(Begin({.attempt = 2, .step = 1, .seeds = {1, 2}})).missing_chunks,
              ElementsAre(1));
  Push({.attempt = 2, .step = 1, .seeds = {1, 2}});
  EXPECT_TRUE(Eventually([&] { return Get(store_->GetStats(std::nullopt)).open_uploads == 0; }));
  EXPECT_THAT(History(), ::testing::Contains(HasSubstr("attempt 2 has committed since")));
  EXPECT_THAT(Steps(), ElementsAre(1));
  ASSERT_TRUE(IsReclaimed());
  EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
}

TEST_F(StoreTest, AnUploadThatCannotBeAbortedGoesOn) {
  Attempt("a");
  const Shard shard{.step = 1, .seeds = {1, 2, 3}};
  const auto opened = Get(Begin(shard));
  EXPECT_EQ(Why(Send(shard, opened, 2)), "OK");
  fs_.AwaitWrites();
  fs_.Spare("");
  fs_.FailNth(os::Op::kWrite, 1, ENOSPC);  // of the catalog's journal
  EXPECT_EQ(Why(store_->AbortUpload(opened.upload_id)), "NO_SPACE");
  EXPECT_THAT(Get(Begin(shard)).missing_chunks, ElementsAre(2));
  Push(shard);
  EXPECT_TRUE(Eventually([&] { return PackFiles().size() == 1; }));
}

TEST_F(StoreTest, AnAbortedUploadLeavesNothing) {
  Attempt("a");
  const Shard shard{.seeds = {1, 2}};
  const auto opened = Get(Begin(shard));
  ASSERT_TRUE(Send(shard, opened, 1).ok());
  EXPECT_EQ(Why(store_->AbortUpload(opened.upload_id)), "OK");
  EXPECT_EQ(Why(store_->CommitShard(opened.upload_id)), "UPLOAD_NOT_FOUND");
  EXPECT_TRUE(Eventually([&] { return PackFiles().empty(); }));
  EXPECT_THAT(Get(Begin(shard)).missing_chunks, SizeIs(2));
  const auto pushed = Push(shard);
  EXPECT_EQ(Why(store_->AbortUpload(Get(Begin(shard)).upload_id)), "OK");  // too late
  EXPECT_THAT(Steps(), ElementsAre(1));
}

TEST_F(StoreTest, AStreamThatOutlivesItsUploadLeavesNothing) {
  Attempt("a");
  const Shard shard{.seeds = {1, 2}};
  const auto opened = Get(Begin(shard));
  const std::shared_ptr<Upload> held = Get(store_->FindUpload(opened.upload_id));
  EXPECT_EQ(Why(store_->AbortUpload(opened.upload_id)), "OK");
  const std::vector<std::byte> bytes = BytesOf(1);
  const std::span<const std::byte> part = bytes;
  EXPECT_EQ(Why(held->Append(0, std::span(&part, 1))), "UPLOAD_NOT_FOUND");
  EXPECT_THAT(PackFiles(), IsEmpty());
}

TEST_F(StoreTest, SharingStaysInsideAProject) {
  const ckpt::RunName sibling{"default", "s"}, stranger{"other", "r"};
  Attempt("a");
  Attempt("a", 1, sibling);
  Attempt("a", 1, stranger);
  Push({.seeds = {1, 2}});
  EXPECT_THAT(Get(Begin({.seeds = {2, 3}, .run = sibling})).missing_chunks, ElementsAre(1));
  EXPECT_THAT(Get(Begin({.seeds = {2, 3}, .run = stranger})).missing_chunks, ElementsAre(0, 1));
}

TEST_F(StoreTest, OnlyWhatChangedIsStored) {
  Attempt("a");
  const auto first = Push({.step = 1, .seeds = {1, 2, 3, 4}});
  const auto second = Push({.step = 2, .seeds = {1, 2, 3, 5}});
  EXPECT_EQ(first.stored_bytes, 4 * RecordExtent(kChunkBytes));
  EXPECT_EQ(second.stored_bytes, RecordExtent(kChunkBytes));
  EXPECT_EQ(second.bytes, 4 * kChunkBytes);
}

TEST_F(StoreTest, TwoUploadsOfTheSameChunkStoreItOnce) {
  Attempt("a");
  const Shard one{.step = 1, .seeds = {1, 2}}, two{.step = 2, .seeds = {2, 3}};
  const auto first = Get(Begin(one)), second = Get(Begin(two));
  ASSERT_TRUE(Send(one, first).ok());
  ASSERT_TRUE(Send(two, second).ok());
  Get(store_->CommitShard(first.upload_id));
  Get(store_->CommitShard(second.upload_id));
  ASSERT_TRUE(IsReclaimed());
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).chunks, 3u);
  EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
}

TEST_F(StoreTest, AnEmptyShardIsACheckpointToo) {
  Attempt("a");
  Store::UploadRequest request;
  request.run = r_;
  request.attempt = 1;
  const auto opened = Get(store_->OpenUpload(request));
  EXPECT_THAT(opened.missing_chunks, IsEmpty());
  EXPECT_EQ(Get(store_->CommitShard(opened.upload_id)).checkpoint->bytes, 0u);
}

}  // namespace
}  // namespace ckptd
