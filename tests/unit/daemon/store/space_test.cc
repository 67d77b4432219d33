// Space: what comes back, what stays, what is refused, and what a failed write
// leaves behind.
#include <algorithm>

#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kExtent = RecordExtent(kChunkBytes);

// A vector of `count` seeds from `first`.
std::vector<int> Seeds(int first, int count) {
  std::vector<int> seeds(count);
  for (int i = 0; i < count; ++i) seeds[i] = first + i;
  return seeds;
}

TEST_F(StoreTest, TheSpaceOfWhatWasRemovedComesBack) {
  Attempt("a", 1, r_, KeepLast(1));
  Push({.step = 1, .seeds = Seeds(100, 20)});
  const uint64_t before = DiskBytes();
  EXPECT_GE(before, 20 * kExtent);
  // Half of it is shared with the next.
  std::vector<int> half = Seeds(100, 10);
  half.push_back(500);
  Push({.step = 2, .seeds = half});
  EXPECT_TRUE(Eventually([&] { return DiskBytes() <= before - 10 * kExtent + 3 * kExtent; }));
  EXPECT_THAT(PackFiles(), SizeIs(2));
  EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
  // The shared half is in nobody's way any more: the first pack goes.
  Push({.step = 3, .seeds = {500}});
  EXPECT_TRUE(Eventually([&] { return PackFiles().size() == 1; }));
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).stored_bytes, kExtent);
  Get(store_->DeleteRun(r_, false));
  EXPECT_TRUE(Eventually([&] { return PackFiles().empty(); }));
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).disk_bytes, 0u);
}

TEST_F(StoreTest, FreedBytesAreThoseThatComeBack) {
  Attempt("a");
  Push({.step = 1, .seeds = {1, 2, 3}});
  Push({.step = 2, .seeds = {2, 3, 4}});
  EXPECT_EQ(Get(store_->DeleteCheckpoints(r_, {1}, true)).freed_bytes, kExtent);
  EXPECT_EQ(Get(store_->DeleteRun(r_, true)).freed_bytes, 4 * kExtent);
}

TEST_F(StoreTest, WhatIsBeingReadKeepsItsSpaceUntilTheReaderIsDone) {
  Attempt("a", 1, r_, KeepLast(1));
  const uint64_t first = Push({.step = 1, .seeds = Seeds(1, 4)}).id;
  auto reader = Get(store_->OpenReader(first, 0));
  Push({.step = 2});
  EXPECT_THAT(Reasons()[1], HasSubstr("leased by a reader"));
  EXPECT_EQ(Why(store_->DeleteCheckpoints(r_, {first}, false)), "CHECKPOINT_HELD");
  EXPECT_EQ(Why(store_->DeleteRun(r_, false)), "CHECKPOINT_HELD");
  for (uint32_t i = 0; i < 4; ++i) {
    const auto bytes = Get(reader->Read(i));
    EXPECT_TRUE(std::ranges::equal(bytes->bytes(), BytesOf(static_cast<int>(i) + 1)));
  }
  reader.reset();
  EXPECT_TRUE(Eventually([&] { return PackFiles().size() == 1; }));
  EXPECT_THAT(Steps(), ElementsAre(2));
  EXPECT_EQ(Why(store_->OpenReader(first, 0)), "CHECKPOINT_REMOVED");
}

TEST_F(StoreTest, AnUploadThatWouldNotFitIsRefusedAtItsBeginning) {
  Attempt("a");
  fs_.SetFreeBytes(100'000);
  EXPECT_EQ(Why(Begin({.step = 1, .seeds = Seeds(1, 20)})), "NO_SPACE");
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).open_uploads, 0u);
  EXPECT_THAT(PackFiles(), IsEmpty());
  // What one upload was promised is not promised to another.
  const Shard one{.step = 2, .seeds = Seeds(50, 5)}, two{.step = 3, .seeds = Seeds(60, 5)};
  const auto opened = Get(Begin(one));
  EXPECT_EQ(Why(Begin(two)), "NO_SPACE");
  ASSERT_TRUE(Send(one, opened).ok());
  EXPECT_EQ(Why(store_->CommitShard(opened.upload_id)), "OK");
  EXPECT_EQ(Why(TryPush(two)), "OK");
  // What the project has needs no space.
  fs_.SetFreeBytes(0);
  EXPECT_EQ(Why(TryPush({.step = 4, .seeds = Seeds(50, 5)})), "OK");
}

TEST_F(StoreTest, SomeOfTheDiskStaysFree) {
  options_.keep_free_bytes = 50'000;
  Reopen();
  Attempt("a");
  fs_.SetFreeBytes(60'000);
  EXPECT_EQ(Why(Begin({.seeds = {1}})), "NO_SPACE");
  fs_.SetFreeBytes(70'000);
  EXPECT_EQ(Why(Begin({.seeds = {1}})), "OK");
}

TEST_F(StoreTest, AFencedAttemptsUploadHoldsNoSpace) {
  Attempt("a");
  const Shard shard{.step = 1, .seeds = Seeds(1, 5)};
  const auto opened = Get(Begin(shard));
  ASSERT_TRUE(Send(shard, opened, 3).ok());
  Attempt("b");
  fs_.SetFreeBytes(100'000);
  EXPECT_EQ(Why(Begin({.attempt = 2, .step = 1, .seeds = Seeds(20, 5)})), "OK");
  EXPECT_TRUE(Eventually([&] { return PackFiles().empty(); }));
}

TEST_F(StoreTest, AnUnfinishedUploadGoesWithItsRunThoughTheRunIsOpenedAgain) {
  Attempt("a");
  const Shard shard{.step = 1, .seeds = Seeds(1, 5)};
  ASSERT_TRUE(Send(shard, Get(Begin(shard)), 3).ok());
  Get(store_->DeleteRun(r_, /*dry_run=*/false));
  Attempt("b");
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).open_uploads, 0u);
  EXPECT_TRUE(Eventually([&] { return PackFiles().empty(); }));
}

TEST_F(StoreTest, AnOlderAttemptsUploadGoesThoughTheNewersCommitWasRemoved) {
  Attempt("a");
  Push({.step = 1});
  const Shard shard{.step = 2, .seeds = Seeds(1, 5)};
  ASSERT_TRUE(Send(shard, Get(Begin(shard)), 3).ok());
  // As a crash before the janitor came by leaves it.
  const uint64_t attempt = Attempt("b");
  const uint64_t id = Push({.attempt = attempt, .step = 3}).id;
  Get(store_->DeleteCheckpoints(r_, {id}, /*dry_run=*/false));
  EXPECT_TRUE(Eventually([&] { return Get(store_->GetStats(std::nullopt)).open_uploads == 0; }));
}

struct Fault {
  const char* name;
  std::function<void(os::FaultyFileSystem&)> plan;
};
class FailingPushTest : public StoreTest, public ::testing::WithParamInterface<Fault> {};

TEST_P(FailingPushTest, ThePackIsAbandonedAndItsChunksSentAgain) {
  Attempt("a");
  Push({.step = 1, .seeds = {1, 2}});
  const Shard shard{.step = 2, .seeds = {2, 3, 4, 5}};
  GetParam().plan(fs_);
  const auto failed = TryPush(shard);
  EXPECT_FALSE(failed.ok());
  EXPECT_THAT(std::vector<std::string>({"IO_ERROR", "NO_SPACE"}), ::testing::Contains(Why(failed)));
  EXPECT_THAT(Steps(), ElementsAre(1));
  // Nothing that the abandoned pack held is relied on.
  EXPECT_THAT(Get(Begin(shard)).missing_chunks, ElementsAre(1, 2, 3));
  EXPECT_EQ(Why(TryPush(shard)), "OK");
  EXPECT_THAT(Steps(), ElementsAre(2, 1));
  EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
  EXPECT_TRUE(Eventually([&] { return PackFiles().size() == 2; }));
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).disk_bytes, DiskBytes());
}

using os::Op;
TEST_F(StoreTest, AWriteThatFailsBehindTheStreamIsToldAtTheNextChunkOrTheCommit) {
  Attempt("a");
  const Shard shard{.step = 1, .seeds = Seeds(1, 6)};
  const auto opened = Get(Begin(shard));
  fs_.HoldWrites();
  fs_.FailNth(Op::kWrite, 4, ENOSPC);
  EXPECT_EQ(Why(Send(shard, opened, 5)), "OK");  // all are taken before one fails
  fs_.ReleaseWrites();
  fs_.AwaitWrites();
  EXPECT_EQ(Why(SendOne(shard, opened.upload_id, 5)), "NO_SPACE");  // the next is told
  EXPECT_THAT(Steps(), IsEmpty());
  EXPECT_THAT(Get(Begin(shard)).missing_chunks, SizeIs(6));

  const auto again = Get(Begin(shard));
  fs_.HoldWrites();
  fs_.FailNth(Op::kWrite, 7, ENOSPC);  // the pack's header, then the sixth chunk
  EXPECT_EQ(Why(Send(shard, again)), "OK");
  fs_.ReleaseWrites();
  EXPECT_EQ(Why(store_->CommitShard(again.upload_id)), "NO_SPACE");
  EXPECT_THAT(Steps(), IsEmpty());
  EXPECT_EQ(Why(TryPush(shard)), "OK");
  EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
  EXPECT_TRUE(Eventually([&] { return PackFiles().size() == 1; }));
}

TEST_F(StoreTest, AFullDiskIsGivenBackWhatIsAbandonedThoughTheCatalogCannotWrite) {
  Attempt("a");
  const Shard shard{.step = 1, .seeds = Seeds(1, 6)};
  EXPECT_EQ(Why(Send(shard, Get(Begin(shard)), 3)), "OK");
  fs_.AwaitWrites();
  ASSERT_THAT(PackFiles(), SizeIs(1));
  fs_.Spare("");
  // Of the journal: the new attempt's own is the first.
  constexpr int kFull = 300;
  const int before = fs_.count(Op::kWrite);
  for (int nth = 2; nth <= kFull; ++nth) fs_.FailNth(Op::kWrite, nth, ENOSPC);
  Attempt("b");
  EXPECT_TRUE(Eventually([&] { return PackFiles().empty(); }));
  EXPECT_LT(fs_.count(Op::kWrite) - before, kFull);
}

INSTANTIATE_TEST_SUITE_P(All, FailingPushTest,
                         ::testing::ValuesIn(std::vector<Fault>{
                             {"Create", [](auto& fs) { fs.FailNth(Op::kCreate, 1); }},
                             {"CreateDirs", [](auto& fs) { fs.FailNth(Op::kCreateDirs, 1); }},
                             {"PackHeader", [](auto& fs) { fs.FailNth(Op::kWrite, 1); }},
                             {"FirstChunk", [](auto& fs) { fs.FailNth(Op::kWrite, 2); }},
                             {"LastChunk", [](auto& fs) { fs.FailNth(Op::kWrite, 4); }},
                             {"ShortWrite", [](auto& fs) { fs.ShortenNthWrite(3, 4096); }},
                             {"Room", [](auto& fs) { fs.FailNth(Op::kAllocate, 1, ENOSPC); }},
                             {"DiskFull", [](auto& fs) { fs.FailNth(Op::kWrite, 3, ENOSPC); }},
                             {"Note", [](auto& fs) { fs.FailNth(Op::kWrite, 5); }},
                             {"Sync", [](auto& fs) { fs.FailNth(Op::kSyncData, 1); }},
                             {"SyncDir", [](auto& fs) { fs.FailNth(Op::kSyncDir, 1); }},
                         }),
                         [](const auto& info) { return info.param.name; });

TEST_F(StoreTest, AHoleThatCannotBePunchedIsTriedAgainAndStopsNoOther) {
  Attempt("a", 1, r_, KeepLast(1));
  Push({.step = 1, .seeds = {1, 2, 3, 4}});
  fs_.FailNth(Op::kPunch, 1);
  Push({.step = 2, .seeds = {1}});
  EXPECT_TRUE(IsReclaimed());
  EXPECT_EQ(fs_.count(Op::kPunch), 4);
  EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
}

TEST_F(StoreTest, APackThatCannotBeRemovedIsTriedAgain) {
  Attempt("a", 1, r_, KeepLast(1));
  Push({.step = 1});
  fs_.FailNth(Op::kRemove, 1);
  Push({.step = 2});
  EXPECT_TRUE(Eventually([&] { return PackFiles().size() == 1; }));
  EXPECT_EQ(fs_.count(Op::kRemove), 2);
}

TEST_F(StoreTest, DamageOnDiskIsFoundByReadingAndSaidOnce) {
  const auto ids = PushSteps("a", {1, 2});
  Corrupt(ids.at(2));
  {
    auto reader = Get(store_->OpenReader(ids.at(2), 0));
    // Who compares for himself is given what lies there, and nothing is said.
    EXPECT_EQ(Why(reader->Read(0, /*compare=*/false)), "OK");
    EXPECT_EQ(Get(store_->GetCheckpoint(ids.at(2))).damage, "");
    EXPECT_EQ(Why(reader->Read(0)), "CHUNK_DAMAGED");
    EXPECT_EQ(Why(reader->Read(0)), "CHUNK_DAMAGED");
  }
  EXPECT_THAT(Get(store_->GetCheckpoint(ids.at(2))).damage, HasSubstr("rank 0, chunk 0"));
  std::vector<std::string> found;
  EXPECT_TRUE(store_
                  ->Verify(r_, ids.at(2),
                           [&](const auto& p) {
                             for (const auto& damage : p.damages) found.push_back(damage.entry);
                             return true;
                           })
                  .ok());
  EXPECT_THAT(found, ElementsAre("state"));
  EXPECT_EQ(Get(store_->GetCheckpoint(ids.at(1))).damage, "");
}

TEST_F(StoreTest, WhatWasComparedStaysWhatItWasWhenItsPlaceIsPunched) {
  Attempt("a", 1, r_, KeepLast(1));
  constexpr uint32_t kBytes = 256 << 10;  // worth a look into the page cache
  const Shard shard{.step = 1, .seeds = {1, 2}, .chunk_bytes = kBytes};
  auto reader = Get(store_->OpenReader(Push(shard).id, 0));
  const auto compared = Get(reader->Read(1));
  const std::vector<std::byte> before(compared->bytes().begin(), compared->bytes().end());
  reader.reset();  // gRPC sends from the bytes long after
  Push({.step = 2, .seeds = {1}, .chunk_bytes = kBytes});
  ASSERT_TRUE(IsReclaimed());
  EXPECT_EQ(fs_.count(os::Op::kPunch), 1);
  EXPECT_TRUE(std::ranges::equal(compared->bytes(), before));
}

TEST_F(StoreTest, AChunkFoundDamagedFlagsAllWhoShareItAndIsNotOfferedAsPresent) {
  Attempt("a");
  const uint64_t first = Push({.step = 1, .seeds = {7}}).id;
  const uint64_t second = Push({.step = 2, .seeds = {7, 8}}).id;
  const uint64_t other = Push({.step = 3, .seeds = {9}}).id;
  for (const uint64_t id : {first, second}) Get(store_->Pin(r_, id, "kept"));
  Damage(first);
  EXPECT_THAT(Get(store_->GetCheckpoint(second)).damage, HasSubstr("it shares chunk"));
  EXPECT_EQ(Get(store_->GetCheckpoint(other)).damage, "");
  // The next save brings the bytes again, whole, for all of them.
  const Shard next{.step = 4, .seeds = {7, 8}};
  EXPECT_THAT(Get(Begin(next)).missing_chunks, ElementsAre(0));
  EXPECT_EQ(Push(next).damage, "");
  ASSERT_TRUE(IsReclaimed());
  std::vector<std::string> found;
  EXPECT_TRUE(store_
                  ->Verify(r_, 0,
                           [&](const auto& p) {
                             for (const auto& damage : p.damages) found.push_back(damage.text);
                             return true;
                           })
                  .ok());
  EXPECT_THAT(found, IsEmpty());
  EXPECT_EQ(Get(store_->GetCheckpoint(first)).damage, "");
  EXPECT_THAT(History(first), ::testing::Contains(HasSubstr("what was damaged was pushed again")));
}

TEST_F(StoreTest, AReaderFromBeforeTheHealingReadsWhatHealedIt) {
  Attempt("a");
  const uint64_t first = Push({.step = 1, .seeds = {7}}).id;
  auto reader = Get(store_->OpenReader(first, 0));
  Damage(first);
  const uint64_t second = Push({.step = 2, .seeds = {7}}).id;
  ASSERT_TRUE(IsReclaimed());
  EXPECT_EQ(Why(reader->Read(0)), "OK");
  EXPECT_EQ(Get(store_->GetCheckpoint(second)).damage, "");
  reader.reset();
}

TEST_F(StoreTest, AVerificationTakesAFlagBackThatWasNotTheBytesFault) {
  const auto ids = PushSteps("a", {10, 20});
  Attempt("b");
  const auto answer = Get(Resume(2));
  EXPECT_EQ(Why(store_->ReportLoad(answer.ticket_id, 0, false, "no such key", true)), "OK");
  EXPECT_NE(Get(store_->GetCheckpoint(ids.at(20))).damage, "");
  EXPECT_TRUE(store_->Verify(r_, ids.at(20), [](const auto&) { return true; }).ok());
  EXPECT_EQ(Get(store_->GetCheckpoint(ids.at(20))).damage, "");
  EXPECT_EQ(Get(Resume(2)).checkpoint->step, 20u);
}

TEST_F(StoreTest, AVerificationCanBeStopped) {
  PushSteps("a", {1, 2});
  EXPECT_EQ(store_->Verify(r_, 0, [](const auto&) { return false; }).code(),
            absl::StatusCode::kCancelled);
  EXPECT_EQ(Why(store_->Verify(r_, 99, [](const auto&) { return true; })), "CHECKPOINT_NOT_FOUND");
}

}  // namespace
}  // namespace ckptd
