// Damage and what comes of it: what is flagged, what is offered instead, and how
// a push makes it whole again.
#include "proto/names.h"
#include "tests/unit/daemon/store/scrub_fixture.h"

namespace ckptd {
namespace {

using Kind = ckpt::Event::Kind;
using Outcome = Store::Outcome;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class HealingTest : public ScrubTest {
 protected:
  // Changes a byte of the chunk, and lets the scrub find out.
  void DamageChunk(uint64_t checkpoint_id, int seed) {
    const ChunkLocation at = LocationOf(checkpoint_id, seed);
    Flip(at.pack, at.offset + kRecordHeaderBytes + 100);
    EXPECT_EQ(Scrub().damaged_chunks, 1u);
    EXPECT_NE(DamageOf(checkpoint_id), "");
  }
  void ExpectAllWhole() {
    ASSERT_TRUE(IsReclaimed());
    EXPECT_THAT(Verify(), IsEmpty());
    const ckpt::Scrub scrub = Scrub();
    EXPECT_EQ(scrub.damaged_chunks + scrub.damaged_manifests + scrub.quarantined_chunks, 0u);
    EXPECT_EQ(Get(store_->GetStats(std::nullopt)).damaged_checkpoints, 0u);
  }
};

TEST_F(HealingTest, APushOfTheSameBytesHealsAllWhoNeedThem) {
  Attempt("a");
  const uint64_t first = Push({.step = 1, .seeds = {7, 8}}).id;
  const uint64_t second = Push({.step = 2, .seeds = {7, 9}}).id;
  const uint64_t other = Push({.step = 3, .seeds = {10}}).id;
  for (const uint64_t id : {first, second}) Get(store_->Pin(r_, id, "kept"));
  const ChunkLocation before = LocationOf(first, 7);
  DamageChunk(first, 7);
  EXPECT_NE(DamageOf(second), "");
  EXPECT_EQ(DamageOf(other), "");
  // The project is taken to lack it; nothing else is asked for.
  const Shard next{.step = 4, .seeds = {7, 8}};
  EXPECT_THAT(Get(Begin(next)).missing_chunks, ElementsAre(0));
  EXPECT_EQ(Push(next).damage, "");
  for (const uint64_t id : {first, second}) {
    EXPECT_EQ(DamageOf(id), "");
    EXPECT_EQ(EventsOf(id).back(), Kind::kHealed);
    EXPECT_THAT(History(id)[0], HasSubstr("what was damaged was pushed again"));
  }
  EXPECT_NE(LocationOf(first, 7), before);
  ExpectAllWhole();
}

TEST_F(HealingTest, APushOfAnotherRunOfTheProjectHealsAndOfAnotherProjectDoesNot) {
  Attempt("a");
  const uint64_t id = Push({.step = 1, .seeds = {7}}).id;
  DamageChunk(id, 7);
  const ckpt::RunName stranger{"other", "r"}, sibling{"default", "sibling"};
  Attempt("b", 1, stranger);
  Push({.step = 1, .seeds = {7}, .run = stranger});
  EXPECT_NE(DamageOf(id), "");
  Attempt("c", 1, sibling);
  Push({.step = 1, .seeds = {7}, .run = sibling});
  EXPECT_EQ(DamageOf(id), "");
  ExpectAllWhole();
}

TEST_F(HealingTest, WhatHasOtherDamageStaysFlagged) {
  Attempt("a");
  const uint64_t one = Push({.step = 1, .seeds = {7}}).id;
  const uint64_t both = Push({.step = 2, .seeds = {7, 8}}).id;
  Push({.step = 3});
  for (const uint64_t id : {one, both}) Get(store_->Pin(r_, id, "kept"));
  DamageChunk(one, 7);
  const ChunkLocation at = LocationOf(both, 8);
  Flip(at.pack, at.offset + kRecordHeaderBytes);
  Scrub();
  Push({.step = 4, .seeds = {7}});
  EXPECT_EQ(DamageOf(one), "");
  EXPECT_NE(DamageOf(both), "");
  Push({.step = 5, .seeds = {8}});
  EXPECT_EQ(DamageOf(both), "");
  ExpectAllWhole();
}

TEST_F(HealingTest, AFlagThatIsNotTheBytesFaultIsNotTakenByAPush) {
  const auto ids = PushSteps("a", {10, 20});
  Attempt("b");
  const auto answer = Get(Resume(2));
  EXPECT_EQ(Why(store_->ReportLoad(answer.ticket_id, 0, false, "no such key", true)), "OK");
  Get(store_->Pin(r_, ids.at(20), "kept"));
  const int seed = Shard{.attempt = 1, .step = 20}.Seeds()[0];
  const ChunkLocation at = LocationOf(ids.at(20), seed);
  Flip(at.pack, at.offset + kRecordHeaderBytes);
  EXPECT_EQ(Scrub().damaged_chunks, 1u);
  Push({.attempt = 2, .step = 30, .seeds = {seed}});
  EXPECT_THAT(DamageOf(ids.at(20)), HasSubstr("no such key"));
  EXPECT_THAT(Verify(), IsEmpty());
  EXPECT_EQ(DamageOf(ids.at(20)), "");
}

TEST_F(HealingTest, SelectorsFallBackAndSayWhyUntilItIsHealed) {
  ckpt::Policy policy = KeepLast(10);
  policy.keep_best = {{"loss", ckpt::MetricMode::kMin, 1}};
  Attempt("a", 1, r_, policy);
  const uint64_t good = Push({.step = 10, .seeds = {1}, .metrics = {{"loss", 2.0}}}).id;
  const uint64_t best = Push({.step = 20, .seeds = {2}, .metrics = {{"loss", 1.0}}}).id;
  const uint64_t newest = Push({.step = 30, .seeds = {3}, .metrics = {{"loss", 3.0}}}).id;
  Get(store_->SetAlias(r_, newest, "release"));
  for (const auto& [id, seed] : {std::pair(best, 2), std::pair(newest, 3)}) {
    const ChunkLocation at = LocationOf(id, seed);
    Flip(at.pack, at.offset + kRecordHeaderBytes);
  }
  EXPECT_EQ(Scrub().damaged_chunks, 2u);
  struct Case {
    ckpt::Selector selector;
    uint64_t whole;    // what it names
    const char* says;  // of the one that is damaged
  };
  const std::vector<Case> cases = {
      {ckpt::SelectLatest{}, newest, "step 30 (id 3) is damaged"},
      {ckpt::SelectBest{}, best, "step 20 (id 2) is damaged"},
      {ckpt::SelectBest{"loss"}, best, "step 20 (id 2) is damaged"},
      {ckpt::SelectStep{30}, newest, "step 30 (id 3) is damaged"},
      {ckpt::SelectAlias{"release"}, newest, "step 30 (id 3) is damaged"},
      {ckpt::SelectId{best}, best, "step 20 (id 2) is damaged"},
  };
  uint64_t attempt = 1;
  for (const Case& c : cases) {
    SCOPED_TRACE(ckpt::ToString(c.selector));
    const auto resolved = Get(store_->Resolve(r_, c.selector, false));
    EXPECT_EQ(resolved.checkpoint.id, good);
    EXPECT_THAT(resolved.explanation, HasSubstr(c.says));
    EXPECT_THAT(resolved.explanation, HasSubstr("its bytes have another digest"));
    attempt = Attempt("damaged " + ckpt::ToString(c.selector));
    const auto resumed = Get(Resume(attempt, 0, c.selector));
    EXPECT_EQ(resumed.outcome, Outcome::kDamaged);
    EXPECT_EQ(resumed.checkpoint->id, good);
    EXPECT_THAT(resumed.explanation, HasSubstr(c.says));
  }
  // The same state once more, in another run: all of it is whole.
  Attempt("a", 1, Run("again"));
  Push({.step = 1, .seeds = {2, 3}, .run = Run("again")});
  for (const Case& c : cases) {
    SCOPED_TRACE(ckpt::ToString(c.selector));
    const auto resolved = Get(store_->Resolve(r_, c.selector, false));
    EXPECT_EQ(resolved.checkpoint.id, c.whole);
    EXPECT_EQ(resolved.explanation, "");
  }
  EXPECT_EQ(Get(Resume(Attempt("whole"))).outcome, Outcome::kFound);
  ExpectAllWhole();
}

TEST_F(HealingTest, DamagedOnesTakeNoSlotAndHealedOnesDo) {
  Attempt("a", 1, r_, KeepLast(3));
  const uint64_t first = Push({.step = 1, .seeds = {1}}).id;
  const uint64_t second = Push({.step = 2, .seeds = {2}}).id;
  Get(store_->Pin(r_, second, "kept"));
  DamageChunk(second, 2);
  Push({.step = 3, .seeds = {3}});
  EXPECT_THAT(Steps(), ElementsAre(3, 2, 1));
  // Whole again it is the third of the last three, and the first one goes.
  Push({.step = 4, .seeds = {2, 4}});
  EXPECT_EQ(DamageOf(second), "");
  EXPECT_THAT(Steps(), ElementsAre(4, 3, 2));
  EXPECT_EQ(Why(store_->OpenReader(first, 0)), "CHECKPOINT_REMOVED");
  ExpectAllWhole();
}

TEST_F(HealingTest, WhatWasSaidToBeThereAndIsFoundDamagedIsAskedForBeforeTheCommit) {
  Attempt("a");
  const uint64_t first = Push({.step = 1, .seeds = {7}}).id;
  const Shard next{.step = 2, .seeds = {7, 8}};
  const auto opened = Get(Begin(next));
  EXPECT_THAT(opened.missing_chunks, ElementsAre(1));
  ASSERT_TRUE(Send(next, opened).ok());
  DamageChunk(first, 7);
  EXPECT_EQ(Why(store_->CommitShard(opened.upload_id)), "CHUNKS_MISSING");
  EXPECT_EQ(List().size(), 1u);
  const auto again = Get(Begin(next));
  EXPECT_EQ(again.upload_id, opened.upload_id);
  EXPECT_THAT(again.missing_chunks, ElementsAre(0)) << "what was sent stays";
  ASSERT_TRUE(Send(next, again).ok());
  EXPECT_EQ(Get(store_->CommitShard(again.upload_id)).checkpoint->damage, "");
  EXPECT_EQ(DamageOf(first), "");
  ExpectAllWhole();
}

TEST_F(HealingTest, ACheckpointWhoseOtherRankWasDamagedBeforeItsCommitIsFlagged) {
  Attempt("a", 2);
  const Shard zero{.step = 1, .seeds = {7}, .rank = 0}, one{.step = 1, .seeds = {8}, .rank = 1};
  EXPECT_FALSE(Get(TryPush(zero)).checkpoint);
  const std::string path = PackFiles().at(0);
  FlipByte(path, kPackHeaderBytes + kRecordHeaderBytes + 5);
  EXPECT_EQ(Scrub().damaged_chunks, 1u);
  const ckpt::Checkpoint checkpoint = Push(one);
  EXPECT_THAT(checkpoint.damage, HasSubstr("was found damaged before it was committed"));
  EXPECT_THAT(EventsOf(checkpoint.id), ElementsAre(Kind::kCommitted, Kind::kDamaged));
  Attempt("b", 1, Run("again"));
  Push({.step = 1, .seeds = {7}, .run = Run("again")});
  EXPECT_EQ(DamageOf(checkpoint.id), "");
  ExpectAllWhole();
}

TEST_F(HealingTest, ARemovedOneIsFlaggedTooForTheDayItIsBroughtBack) {
  ckpt::Policy policy = KeepLast(1);
  policy.restore_grace = absl::Hours(1);
  Attempt("a", 1, r_, policy);
  const uint64_t removed = Push({.step = 1, .seeds = {7}}).id;
  Push({.step = 2});
  DamageChunk(removed, 7);
  EXPECT_NE(Get(store_->RestoreCheckpoint(r_, removed)).damage, "");
  Push({.step = 3, .seeds = {7}});
  EXPECT_EQ(DamageOf(removed), "");
  ExpectAllWhole();
}

TEST_F(HealingTest, ADamagedManifestIsServedToNobody) {
  const auto ids = PushSteps("a", {10, 20});
  FlipManifest(ids.at(20));
  // Not one byte of it is used: not by a resume, which offers the one before.
  Attempt("b");
  const auto resumed = Get(Resume(2));
  EXPECT_EQ(resumed.outcome, Outcome::kDamaged);
  EXPECT_EQ(resumed.checkpoint->step, 10u);
  EXPECT_THAT(resumed.explanation, HasSubstr("the manifest of shard"));
  EXPECT_THAT(EventsOf(ids.at(20)), Contains(Kind::kDamaged));
  EXPECT_EQ(Why(store_->OpenReader(ids.at(20), 0)), "MANIFEST_DAMAGED");
  EXPECT_THAT(Verify(), ElementsAre(HasSubstr("the manifest of shard")));
  FlipManifest(ids.at(20));
  EXPECT_EQ(Why(store_->OpenReader(ids.at(20), 0)), "OK");
  EXPECT_NE(DamageOf(ids.at(20)), "") << "nobody has looked at all of it";
  EXPECT_THAT(Verify(), IsEmpty());
  EXPECT_EQ(DamageOf(ids.at(20)), "");
}

TEST_F(HealingTest, AReaderThatMeetsADamagedManifestFlagsTheCheckpoint) {
  const auto ids = PushSteps("a", {10, 20});
  FlipManifest(ids.at(20));
  const auto reader = store_->OpenReader(ids.at(20), 0);
  EXPECT_EQ(Why(reader), "MANIFEST_DAMAGED");
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(reader.status().message()), HasSubstr("checkpoint r@20 rank 0"));
  EXPECT_THAT(DamageOf(ids.at(20)), HasSubstr("rank 0: the manifest of shard"));
  EXPECT_EQ(Get(store_->Resolve(r_, ckpt::SelectLatest{}, false)).checkpoint.step, 10u);
  FlipManifest(ids.at(20));
}

TEST_F(HealingTest, TheManifestOfAnotherRankIsLookedAtBeforeAnyRankIsAnswered) {
  Attempt("a", 3);
  uint64_t id = 0;
  for (const uint64_t step : {10, 20}) {
    for (uint32_t rank = 0; rank < 3; ++rank) {
      const auto result = Get(TryPush({.step = step, .rank = rank}));
      if (result.checkpoint) id = result.checkpoint->id;
    }
  }
  FlipManifest(id, 2);
  Attempt("b", 3);
  for (uint32_t rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(Get(Resume(2, rank)).checkpoint->step, 10u);
  }
  FlipManifest(id, 2);
}

TEST_F(HealingTest, APushOfTheSameManifestHealsIt) {
  Attempt("a");
  const Shard shard{.step = 1, .seeds = {7, 8}};
  const uint64_t id = Push(shard).id;
  Get(store_->Pin(r_, id, "kept"));
  FlipManifest(id);
  EXPECT_EQ(Scrub().damaged_manifests, 1u);
  Push({.step = 2, .seeds = {7}});
  EXPECT_NE(DamageOf(id), "") << "that was another";
  Push({.step = 3, .seeds = {7, 8}});
  EXPECT_EQ(DamageOf(id), "");
  EXPECT_EQ(EventsOf(id).back(), Kind::kHealed);
  ExpectAllWhole();
}

TEST_F(HealingTest, AVerificationBelievesTheDiskAndNotMemory) {
  Attempt("a");
  const uint64_t id = Push({.step = 1, .seeds = {7}}).id;
  DamageChunk(id, 7);
  EXPECT_THAT(Verify(), ElementsAre(HasSubstr("its bytes have another digest")));
  EXPECT_NE(DamageOf(id), "");
  const ChunkLocation at = LocationOf(id, 7);
  Flip(at.pack, at.offset + kRecordHeaderBytes + 100);
  EXPECT_THAT(Verify(), IsEmpty());
  EXPECT_EQ(DamageOf(id), "");
  EXPECT_EQ(Get(store_->GetScrub()).quarantined_chunks, 0u);
  EXPECT_THAT(Get(Begin({.step = 2, .seeds = {7}})).missing_chunks, IsEmpty());
}

TEST_F(HealingTest, AllProjectsAreVerifiedOrOne) {
  const ckpt::RunName other{"other", "r"};
  Attempt("a");
  Attempt("a", 1, other);
  Push({.step = 1, .seeds = {1}});
  const uint64_t bad = Push({.step = 1, .seeds = {2}, .run = other}).id;
  Corrupt(bad);
  const auto verify = [&](const std::string& project) {
    std::vector<ckpt::RunName> runs;
    uint64_t done = 0, total = 1;
    EXPECT_TRUE(store_
                    ->VerifyAll(project,
                                [&](const auto& progress) {
                                  for (const auto& d : progress.damages) runs.push_back(d.run);
                                  done = progress.bytes_done;
                                  total = progress.bytes_total;
                                  return true;
                                })
                    .ok());
    EXPECT_EQ(done, total);
    return runs;
  };
  EXPECT_THAT(verify("default"), IsEmpty());
  EXPECT_THAT(verify("other"), ElementsAre(other));
  EXPECT_THAT(verify(""), ElementsAre(other));
  EXPECT_EQ(Why(store_->VerifyAll("nobody", [](const auto&) { return true; })), "RUN_NOT_FOUND");
}

TEST_F(HealingTest, AVerificationThatWasStoppedGoesOnBehindWhatItRead) {
  const ckpt::RunName other{"other", "r"};
  Attempt("a");
  Attempt("a", 1, other);
  std::vector<uint64_t> expected;  // runs by name, the newest commit of each first
  for (const int step : {1, 2, 3}) {
    const uint64_t id = Push({.step = static_cast<uint64_t>(step), .seeds = {step, step + 50}}).id;
    expected.insert(expected.begin(), id);
  }
  expected.push_back(Push({.step = 1, .seeds = {90}, .run = other}).id);

  std::vector<uint64_t> read;
  std::optional<Store::VerifyPosition> behind;
  for (size_t streams = 1; true; ++streams) {
    ASSERT_LE(streams, expected.size() + 1);
    uint64_t done = 0, total = 0;
    const absl::Status status = store_->VerifyAll(
        "",
        [&](const Store::VerifyProgress& progress) {
          done = progress.bytes_done;
          total = progress.bytes_total;
          if (!progress.position) return true;
          read.push_back(progress.position->checkpoint_id);
          behind = progress.position;
          return false;
        },
        behind);
    if (status.ok()) break;
    ASSERT_TRUE(absl::IsCancelled(status)) << status;
    uint64_t left = 0;
    for (size_t i = streams - 1; i < expected.size(); ++i) {
      left += Get(store_->GetCheckpoint(expected[i])).bytes;
    }
    EXPECT_EQ(total, left);
    EXPECT_EQ(done, Get(store_->GetCheckpoint(read.back())).bytes);
  }
  EXPECT_EQ(read, expected);
}

}  // namespace
}  // namespace ckptd
