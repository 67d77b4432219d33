// Chunks that were moved to encoded copies: what keeps their bases, what gives
// them back, and what stops a move.
#include "daemon/catalog/encoding.h"

#include "tests/unit/daemon/catalog/fixture.h"

namespace ckptd::catalog {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class EncodingTest : public CatalogTest {
 protected:
  void SetUp() override {
    CatalogTest::SetUp();
    run_ = MakeRun("a");
  }
  void TearDown() override { ExpectSound(); }

  // Steps 1 to `count`, each with a chunk named like it, and with these.
  void PushSteps(int count, const std::vector<int>& shared = {}) {
    for (int step = 1; step <= count; ++step) {
      std::vector<int> seeds = {step};
      seeds.insert(seeds.end(), shared.begin(), shared.end());
      Push(run_, {.step = static_cast<uint64_t>(step), .seeds = seeds});
    }
  }
  ChunkRow Row(int seed) { return *Get(FindChunkRow(*Read(), run_.project_id, DigestOf(seed))); }
  bool Has(int seed) {
    return !Get(FindChunks(*Read(), run_.project_id, {DigestOf(seed)})).empty();
  }
  // The chunk becomes the difference to `base`, or is only encoded.
  bool Move(int seed, std::optional<int> base = std::nullopt,
            const std::set<uint64_t>& users = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}) {
    const ChunkRow chunk = Row(seed);
    std::optional<ChunkRow> of_base;
    if (base) of_base = Row(*base);
    return Move(chunk, of_base, users);
  }
  bool Move(const ChunkRow& chunk, const std::optional<ChunkRow>& base,
            const std::set<uint64_t>& users) {
    return Change([&](WriteTxn& txn) {
      const PackId pack = Get(StartOwnPack(txn, now_));
      const ChunkLocation to{pack, 4096, kExtent, kLength, kLength / 2};
      const bool moved = Get(MoveChunk(txn, run_.project_id, chunk, to, base, users));
      Do(SealPack(txn, pack));
      return moved;
    });
  }
  void Damage(int seed) {
    Change([&](WriteTxn& txn) { Do(MarkChunkDamaged(txn, run_.project_id, DigestOf(seed))); });
  }
  uint64_t Reclaims() { return Get(ListReclaims(*Read(), 1000)).size(); }
  uint64_t Stored() { return Get(GetFigures(*Read(), run_.project_id, std::nullopt)).stored_bytes; }
  // Bytes that a removal of these gives back, and says beforehand.
  void ReleaseAndExpectFreed(const std::vector<uint64_t>& ids, uint64_t extents) {
    EXPECT_EQ(Get(FreedBy(*Read(), ids)), extents * kExtent);
    const uint64_t before = Stored();
    for (const uint64_t id : ids) {
      Remove(id);
      Release(id);
    }
    EXPECT_EQ(before - Stored(), extents * kExtent);
    ExpectSound();
  }

  RunRow run_;
};

TEST_F(EncodingTest, AMovedChunkIsFoundAtItsNewPlaceWithItsBases) {
  PushSteps(3);
  EXPECT_TRUE(Move(2, 3));
  EXPECT_TRUE(Move(1, 2));
  EXPECT_EQ(Reclaims(), 2u);
  const ChunkLocation at = Get(CheckpointChunks(*Read(), 1, 0)).at(DigestOf(1));
  EXPECT_EQ(at.encoded, kLength / 2);
  EXPECT_EQ(at.length, kLength);
  ASSERT_NE(at.base, nullptr);
  EXPECT_EQ(at.base->digest, DigestOf(2));
  ASSERT_NE(at.base->location.base, nullptr);
  EXPECT_EQ(at.base->location.base->digest, DigestOf(3));
  EXPECT_EQ(at.base->location.base->location.base, nullptr);
  EXPECT_EQ(Get(FindChunks(*Read(), run_.project_id, {DigestOf(1)})).at(DigestOf(1)).base->digest,
            DigestOf(2));
  for (const Reclaim& reclaim : Get(ListReclaims(*Read(), 9))) {
    EXPECT_EQ(reclaim.location.length, kLength);  // the raw record's
  }
}

TEST_F(EncodingTest, ABaseLivesAsLongAsADifferenceToIt) {
  PushSteps(3);
  EXPECT_TRUE(Move(2, 3));
  EXPECT_TRUE(Move(1, 2));
  ReleaseAndExpectFreed({3}, 0);
  EXPECT_TRUE(Has(3));
  ReleaseAndExpectFreed({2}, 0);
  EXPECT_TRUE(Has(2));
  // The encoded payload's length is what its reclaim says.
  ReleaseAndExpectFreed({1}, 3);
  for (const int seed : {1, 2, 3}) EXPECT_FALSE(Has(seed)) << seed;
}

TEST_F(EncodingTest, ABaseOfTwoGoesWithTheSecond) {
  Push(run_, {.step = 1, .seeds = {1}});
  Push(run_, {.step = 2, .seeds = {2}});
  Push(run_, {.step = 3, .seeds = {3}});
  EXPECT_TRUE(Move(1, 3));
  EXPECT_TRUE(Move(2, 3));
  ReleaseAndExpectFreed({3, 1}, 1);
  EXPECT_TRUE(Has(3));
  ReleaseAndExpectFreed({2}, 2);
}

TEST_F(EncodingTest, WhatGoesTogetherGoesAtOnce) {
  PushSteps(4, {100});
  EXPECT_TRUE(Move(3, 4));
  EXPECT_TRUE(Move(2, 3));
  EXPECT_TRUE(Move(1, 3));
  EXPECT_EQ(Get(FreedBy(*Read(), {3, 2, 1})), 3 * kExtent);
  EXPECT_EQ(Get(FreedBy(*Read(), {4, 3, 2})), 1 * kExtent);
  EXPECT_EQ(Get(FreedBy(*Read(), {4, 3, 2, 1})), 5 * kExtent);
  ReleaseAndExpectFreed({4, 3, 2}, 1);
  ReleaseAndExpectFreed({1}, 4);
  EXPECT_EQ(Stored(), 0u);
}

TEST_F(EncodingTest, WhatIsLeftToDoIsListed) {
  for (int step = 1; step <= 3; ++step) {
    Push(run_, {.step = static_cast<uint64_t>(step), .seeds = {step, step + 10}});
  }
  EXPECT_THAT(Get(ListUnpacked(*Read(), run_.id)), ElementsAre(3, 2, 1));
  Remove(3);
  EXPECT_THAT(Get(ListUnpacked(*Read(), run_.id)), ElementsAre(2, 1));
  EXPECT_EQ(Get(ListToEncode(*Read(), 1, 0)).size(), 2u);
  EXPECT_TRUE(Move(1, 2));
  Change([&](WriteTxn& txn) {
    Do(MarkTried(txn, Row(11)));
    Do(MarkPacked(txn, 1));
  });
  EXPECT_THAT(Get(ListToEncode(*Read(), 1, 0)), IsEmpty());
  EXPECT_THAT(Get(ListToEncode(*Read(), 1, 1)), IsEmpty());
  EXPECT_THAT(Get(ListUnpacked(*Read(), run_.id)), ElementsAre(2));
  // Once only the difference keeps its base, that is one to encode anew.
  Remove(2);
  Release(2);
  EXPECT_THAT(Get(ListUnpacked(*Read(), run_.id)), ElementsAre(1));
  const auto again = Get(ListToEncode(*Read(), 1, 0));
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].chunk.digest, DigestOf(1));
  EXPECT_TRUE(Move(again[0], std::nullopt, {1}));
  EXPECT_FALSE(Has(2));
  EXPECT_THAT(Get(ListToEncode(*Read(), 1, 0)), IsEmpty());
}

TEST_F(EncodingTest, AMoveThatIsTooLateLeavesOnlySomethingToReclaim) {
  Push(run_, {.step = 1, .seeds = {1}});
  Push(run_, {.step = 2, .seeds = {2}});
  const ChunkRow chunk = Row(1), base = Row(2);
  struct Case {
    std::string what;
    std::function<void()> meanwhile, undo;
  };
  for (const Case& c : std::vector<Case>{
           {"another shard refers to it",
            [&] { Push(run_, {.step = 9, .seeds = {1}}); },
            [&] { Remove(3); Release(3); }},
           {"an upload refers to it",
            [&] {
              Change([&](WriteTxn& txn) {
                const UploadRow upload = Open(txn, run_, {.step = 10, .seeds = {1}});
                Get(ReferToPresent(txn, run_.project_id, upload.shard_row, {DigestOf(1)}));
              });
            },
            [&] {
              Change([&](WriteTxn& txn) {
                Do(DropUpload(txn, Get(FindUpload(txn, run_.id, 1, 10, 0))->shard_row));
              });
            }},
           {"its checkpoint is pinned",
            [&] { Change([&](WriteTxn& txn) { Do(AddPin(txn, 1, "p", now_)); }); },
            [&] { Change([&](WriteTxn& txn) { Get(RemovePin(txn, 1, "p")); }); }},
           {"it has an alias",
            [&] { Change([&](WriteTxn& txn) { Get(SetAlias(txn, run_.id, "x", 1, now_)); }); },
            [&] { Change([&](WriteTxn& txn) { Get(RemoveAlias(txn, run_.id, "x")); }); }},
           {"the base is damaged",
            [&] { Damage(2); },
            [] {}},
           {"the base is gone", [&] { Remove(2); Release(2); }, [] {}},
           {"it was moved", [&] { EXPECT_TRUE(Move(1)); }, [] {}},
           {"it is damaged",
            [&] { Damage(1); },
            [] {}},
           {"it is gone", [&] { Remove(1); Release(1); }, [] {}},
       }) {
    SCOPED_TRACE(c.what);
    c.meanwhile();
    const uint64_t before = Reclaims(), stored = Stored();
    EXPECT_FALSE(Move(chunk, base, {1}));
    EXPECT_EQ(Reclaims(), before + 1);
    EXPECT_EQ(Stored(), stored);
    ExpectSound();
    c.undo();
  }
}

TEST_F(EncodingTest, ChainsAreNeitherCirclesNorTooLong) {
  constexpr int kChunks = kMaxBases + 3;
  PushSteps(kChunks);
  auto may = [&](int chunk, int base) {
    return Get(MayBeBase(*Read(), Row(chunk).row, Row(base).row));
  };
  EXPECT_FALSE(may(1, 1));
  // From the oldest on, each to the next: the history below grows.
  for (int i = 1; i <= kMaxBases; ++i) {
    ASSERT_TRUE(may(i, i + 1)) << i;
    EXPECT_TRUE(Move(i, i + 1));
    EXPECT_FALSE(may(i + 1, i));
    EXPECT_FALSE(may(i + 1, 1));
  }
  EXPECT_FALSE(may(kMaxBases + 1, kMaxBases + 2));
  EXPECT_FALSE(Move(kMaxBases + 1, kMaxBases + 2));
  // And on at the lower end.
  EXPECT_FALSE(may(kMaxBases + 2, 1));
  EXPECT_TRUE(may(kMaxBases + 2, 2));
}

TEST_F(EncodingTest, DamageOfABaseIsThatOfItsDifferencesAndSoIsItsHealing) {
  PushSteps(4);
  EXPECT_TRUE(Move(2, 3));
  EXPECT_TRUE(Move(1, 2));
  EXPECT_THAT(Get(ListUsers(*Read(), run_.project_id, DigestOf(3))), ElementsAre(1, 2, 3));
  EXPECT_THAT(Get(ListUsers(*Read(), run_.project_id, DigestOf(2))), ElementsAre(1, 2));
  Damage(3);
  const auto present = [&](WriteTxn& txn, int64_t shard_row) {
    return Get(ReferToPresent(txn, run_.project_id, shard_row,
                              {DigestOf(1), DigestOf(2), DigestOf(3), DigestOf(4)}))
        .size();
  };
  {
    auto txn = Write();
    const UploadRow upload = Open(*txn, run_, {.step = 5, .seeds = {1, 2, 3, 4}});
    EXPECT_EQ(present(*txn, upload.shard_row), 1u);
  }
  Push(run_, {.step = 6, .seeds = {3}});
  {
    auto txn = Write();
    const UploadRow upload = Open(*txn, run_, {.step = 5, .seeds = {1, 2, 3, 4}});
    EXPECT_EQ(present(*txn, upload.shard_row), 4u);
  }
  // An encoded chunk, too, is healed by what comes.
  Damage(2);
  Push(run_, {.step = 7, .seeds = {2}});
  EXPECT_EQ(Get(CheckpointChunks(*Read(), 2, 0)).at(DigestOf(2)).encoded, 0u);
  EXPECT_EQ(Get(CheckpointChunks(*Read(), 1, 0)).at(DigestOf(1)).base->digest, DigestOf(2));
}

TEST_F(EncodingTest, TheCatalogFindsWhatIsWrongWithBases) {
  PushSteps(3);
  EXPECT_TRUE(Move(1, 2));
  for (const char* harm : {"UPDATE chunks SET encoded = 0 WHERE base IS NOT NULL",
                           "UPDATE chunks SET base = row WHERE base IS NOT NULL",
                           "UPDATE chunks SET length = 7 WHERE base IS NOT NULL",
                           "DELETE FROM shard_chunks WHERE shard_row = 3"}) {
    auto txn = Write();
    Do(txn->connection().Run(harm));
    EXPECT_EQ(CheckReferences(*txn).code(), absl::StatusCode::kDataLoss) << harm;
  }
}

}  // namespace
}  // namespace ckptd::catalog
