// The scrub of what lies encoded, and its healing.
#include <atomic>
#include <fstream>

#include "tests/unit/daemon/store/packing_fixture.h"

namespace ckptd {
namespace {

using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::IsEmpty;

// Three checkpoints of history, each the difference to the next newer, and the
// newest, which lies as it came.
class PackingScrubTest : public PackingTest {
 protected:
  void SetUp() override {
    options_.scrub_rate = 0;
    PackingTest::SetUp();
    PushStates(1, 4);
    ASSERT_TRUE(IsPacked({4}));
    ASSERT_THAT(Links(1)[0], 3);
    for (const uint64_t step : {1, 2, 3}) Get(store_->Pin(r_, ids_[step], "kept"));
  }

  // A byte within the record of the step's first chunk.
  void Flip(uint64_t step, uint64_t at) {
    const ChunkLocation where = Locations(step).at(StateOf(step).manifest.chunks[0].digest);
    std::fstream file(Layout(options_.data_dir).Pack(where.pack),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(where.offset + at));
    const char byte = static_cast<char>(file.get() ^ 0x40);
    file.seekp(static_cast<std::streamoff>(where.offset + at));
    file.put(byte);
    ASSERT_TRUE(file.flush().good());
  }
  std::vector<uint64_t> Damaged() {
    std::vector<uint64_t> steps;
    for (const auto& [step, id] : ids_) {
      if (!Get(store_->GetCheckpoint(id)).damage.empty()) steps.push_back(step);
    }
    return steps;
  }
  void PushAgain(uint64_t state_of, uint64_t step) {
    const State state = StateOf(state_of);
    const auto opened = Get(BeginState(step, state));
    EXPECT_EQ(
        Why(SendState(state, *Get(store_->FindUpload(opened.upload_id)), opened.missing_chunks)),
        "OK");
    Get(store_->CommitShard(opened.upload_id));
  }
};

TEST_F(PackingScrubTest, EncodedChunksAndTheirBasesAreRead) {
  const auto whole = Scrub();
  EXPECT_EQ(whole.chunks, Get(store_->GetStats(std::nullopt)).chunks);
  EXPECT_EQ(whole.damaged_chunks, 0u);
  struct Case {
    uint64_t at;
    const char* what;
  };
  for (const Case& c : {Case{20, "record header"}, Case{kRecordHeaderBytes, "codec's magic"},
                        Case{kRecordHeaderBytes + 20, "chunk's digest"},
                        Case{kRecordHeaderBytes + 50, "base's digest"},
                        Case{kRecordHeaderBytes + 5000, "a plane"}}) {
    SCOPED_TRACE(c.what);
    // Of the one in the middle: itself and the difference to it, not its base.
    Flip(2, c.at);
    const auto found = Scrub();
    EXPECT_EQ(found.damaged_chunks, 1u);
    EXPECT_EQ(found.quarantined_chunks, 2u);
    EXPECT_THAT(Damaged(), ElementsAre(1, 2));
    Flip(2, c.at);
    EXPECT_EQ(Scrub().healed_chunks, 1u);
    EXPECT_THAT(Damaged(), IsEmpty());
  }
  ExpectWhole({1, 2, 3, 4});
}

TEST_F(PackingScrubTest, AHealedBaseLeavesADifferenceFlaggedThatIsDamagedItself) {
  Flip(3, kRecordHeaderBytes + 5000);
  Flip(1, kRecordHeaderBytes + 5000);
  EXPECT_EQ(Scrub().damaged_chunks, 2u);
  EXPECT_THAT(Damaged(), ElementsAre(1, 2, 3));
  PushAgain(3, 30);
  EXPECT_THAT(Damaged(), ElementsAre(1));
  EXPECT_EQ(Scrub().damaged_chunks, 1u);
  PushAgain(1, 31);
  EXPECT_THAT(Damaged(), IsEmpty());
  ExpectWhole({1, 2, 3, 4});
}

TEST_F(PackingScrubTest, HistoryReadsAndIsPackedOnAfterItsBaseWasHealed) {
  Flip(3, kRecordHeaderBytes + 5000);
  EXPECT_EQ(Scrub().damaged_chunks, 1u);
  PushAgain(3, 30);
  ExpectWhole({1, 2, 3, 4});
  EXPECT_THAT(Links(2)[0], Gt(0)) << "still the difference to what was healed";
  for (const uint64_t step : {1, 2, 3}) Get(store_->Unpin(r_, ids_[step], "kept"));
  PushStates(31, 32);
  EXPECT_EQ(Scrub().damaged_chunks, 0u);
  ExpectWhole({1, 2, 3, 4, 31, 32});
}

TEST_F(PackingScrubTest, ABaseThatOnlyADamagedDifferenceNeededGoesWithItsHealing) {
  // A state that nobody keeps but as a base: packing may not do away with it.
  for (const uint64_t step : {2, 3}) Get(store_->Unpin(r_, ids_[step], "kept"));
  Flip(1, kRecordHeaderBytes + 5000);
  EXPECT_EQ(Scrub().damaged_chunks, 1u);
  options_.compress = false;
  Reopen();
  Get(store_->DeleteCheckpoints(r_, {ids_[2], ids_[3]}, false));
  ASSERT_TRUE(IsReclaimed());
  const uint64_t chunks = Get(store_->GetStats(std::nullopt)).chunks;
  PushAgain(1, 30);
  ASSERT_TRUE(IsReclaimed());
  EXPECT_THAT(Damaged(), IsEmpty());
  EXPECT_LT(Get(store_->GetStats(std::nullopt)).chunks, chunks);
  ids_.erase(2);
  ids_.erase(3);
  ExpectWhole({1, 4});
}

TEST_F(PackingScrubTest, WhatMovesWhileItIsReadIsNoDamage) {
  std::atomic<bool> done = false;
  std::thread pusher([&] {
    for (uint64_t step = 5; step <= 16; ++step) PushState(step);
    done = true;
  });
  while (!done) {
    const auto found = Scrub();
    EXPECT_EQ(found.damaged_chunks + found.damaged_packs + found.unreadable_chunks, 0u);
  }
  pusher.join();
  EXPECT_THAT(Damaged(), IsEmpty());
  EXPECT_EQ(Get(store_->GetScrub()).quarantined_chunks, 0u);
}

}  // namespace
}  // namespace ckptd
