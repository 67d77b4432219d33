// Which chunks and manifests are damaged, and whom that concerns.
#include "daemon/catalog/encoding.h"
#include "daemon/catalog/scrub.h"
#include "tests/unit/daemon/catalog/fixture.h"

namespace ckptd::catalog {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class DamageTest : public CatalogTest {
 protected:
  void SetUp() override {
    CatalogTest::SetUp();
    run_ = MakeRun("a");
  }
  // A checkpoint a step, each of one chunk, which is the difference to the next
  // step's.
  void PushChain(int last) {
    for (int step = 1; step <= last; ++step) {
      ids_.insert(Push(run_, {.step = static_cast<uint64_t>(step), .seeds = {step}}));
    }
    Change([&](WriteTxn& txn) {
      const PackId pack = Get(StartOwnPack(txn, now_));
      for (int step = 1; step < last; ++step) {
        const auto chunk = *Get(FindChunkRow(txn, run_.project_id, DigestOf(step)));
        const auto base = *Get(FindChunkRow(txn, run_.project_id, DigestOf(step + 1)));
        ASSERT_TRUE(Get(MoveChunk(
            txn, run_.project_id, chunk,
            {pack, static_cast<uint64_t>(step) * kExtent, kExtent, kLength, 50}, base, ids_)));
      }
      Do(SealPack(txn, pack));
    });
  }
  void Damage(int seed) {
    Change([&](WriteTxn& txn) { Do(MarkChunkDamaged(txn, run_.project_id, DigestOf(seed))); });
  }
  int64_t RowOf(int seed) {
    return Get(Read()->connection().Integer("SELECT row FROM chunks WHERE digest = ?1",
                                            DigestOf(seed)))
        .value_or(0);
  }
  void Whole(int seed) {
    const int64_t row = RowOf(seed);
    Change([&](WriteTxn& txn) { Do(MarkChunkWhole(txn, row)); });
  }
  // chunks.damaged by seed, from 1.
  std::vector<int64_t> Flags(int last) {
    std::vector<int64_t> flags;
    for (int seed = 1; seed <= last; ++seed) {
      flags.push_back(Get(Read()->connection().Integer(
                              "SELECT damaged FROM chunks WHERE digest = ?1", DigestOf(seed)))
                          .value_or(-1));
    }
    return flags;
  }

  RunRow run_;
  std::set<uint64_t> ids_;
};

TEST_F(DamageTest, ADifferenceIsAsGoodAsItsBaseAndAsItself) {
  PushChain(5);
  const auto flags = [&] { return Flags(5); };
  Damage(3);
  EXPECT_THAT(flags(), ElementsAre(2, 2, 1, 0, 0));
  Damage(2);
  EXPECT_THAT(flags(), ElementsAre(2, 1, 1, 0, 0));
  Whole(3);
  EXPECT_THAT(flags(), ElementsAre(2, 1, 0, 0, 0)) << "2 is damaged itself";
  Damage(5);
  EXPECT_THAT(flags(), ElementsAre(2, 1, 2, 2, 1));
  Whole(2);
  EXPECT_THAT(flags(), ElementsAre(2, 2, 2, 2, 1)) << "its record is right, its base is not";
  Change([&](WriteTxn& txn) { Do(MarkChainWhole(txn, run_.project_id, DigestOf(4))); });
  EXPECT_THAT(flags(), ElementsAre(0, 0, 0, 0, 0));
  Damage(2);
  Damage(4);
  Change([&](WriteTxn& txn) { Do(MarkChainWhole(txn, run_.project_id, DigestOf(1))); });
  EXPECT_THAT(flags(), ElementsAre(0, 0, 0, 0, 0));
}

TEST_F(DamageTest, UsersAreAllWhoRefersToItOrToADifference) {
  PushChain(4);
  EXPECT_THAT(Get(ListUsers(*Read(), run_.project_id, DigestOf(3))), ElementsAre(1, 2, 3));
  Remove(2, now_ + absl::Hours(1));
  EXPECT_THAT(Get(ListUsers(*Read(), run_.project_id, DigestOf(3))), ElementsAre(1, 2, 3));
  Remove(1);
  Release(1);
  EXPECT_THAT(Get(ListUsers(*Read(), run_.project_id, DigestOf(3))), ElementsAre(2, 3));
}

TEST_F(DamageTest, WhatIsFlaggedForTheDiskIsHealedWithItAndNothingElse) {
  PushChain(3);
  Damage(2);
  Change([&](WriteTxn& txn) {
    Do(SetDamageOnDisk(txn, 1, "chunk"));
    Do(SetDamageOnDisk(txn, 2, "chunk"));
    Do(SetDamage(txn, 3, "could not be loaded"));
  });
  EXPECT_EQ(Get(CountDamagedChunksOf(*Read(), run_.project_id)), 2u);
  EXPECT_EQ(Get(CountDamagedChunks(*Read())), 2u);
  EXPECT_EQ(Get(CountDamaged(*Read(), std::nullopt, std::nullopt)), 3u);
  EXPECT_EQ(Get(CountDamaged(*Read(), run_.project_id, run_.id)), 3u);
  EXPECT_EQ(Get(CountDamaged(*Read(), run_.project_id + 1, std::nullopt)), 0u);
  EXPECT_THAT(Get(ListHealed(*Read())), IsEmpty());
  EXPECT_EQ(Get(ListDamagedChunks(*Read(), 1))[0].location.base->digest, DigestOf(2));
  EXPECT_THAT(Get(ListDamagedChunks(*Read(), 3)), IsEmpty());
  Change([&](WriteTxn& txn) { Do(MarkManifest(txn, 2, 0, true)); });
  Push(run_, {.step = 9, .seeds = {2}});
  EXPECT_EQ(Get(CountDamagedChunksOf(*Read(), run_.project_id)), 0u);
  EXPECT_THAT(Get(ListHealed(*Read())), ElementsAre(1));
  EXPECT_TRUE(Get(IsDamagedOnDisk(*Read(), 2)));
  Change([&](WriteTxn& txn) { Do(MarkManifestsWhole(txn, 2)); });
  EXPECT_THAT(Get(ListHealed(*Read())), ElementsAre(1, 2));
  // From here on 1 is flagged for something else.
  Change([&](WriteTxn& txn) { Do(SetDamage(txn, 1, "could not be loaded")); });
  EXPECT_THAT(Get(ListHealed(*Read())), ElementsAre(2));
}

TEST_F(DamageTest, AHealedDifferenceLetsGoOfTheBaseThatOnlyItNeeded) {
  PushChain(3);
  Remove(2);
  Release(2);
  Damage(1);
  EXPECT_NE(RowOf(2), 0);
  Push(run_, {.step = 9, .seeds = {1}});
  EXPECT_EQ(RowOf(2), 0);
  EXPECT_NE(RowOf(3), 0);
  ExpectSound();
}

TEST_F(DamageTest, AnUnfinishedShardLosesItsReferencesToWhatIsDamaged) {
  Push(run_, {.step = 1, .seeds = {1, 2}});
  const UploadRow upload = Change([&](WriteTxn& txn) {
    const UploadRow row = Open(txn, run_, {.step = 2, .seeds = {1, 2, 3}});
    Store(txn, run_, row.shard_row, {1, 2, 3});
    return row;
  });
  EXPECT_EQ(Change([&](WriteTxn& txn) {
              return Get(DropDamagedReferences(txn, run_.project_id, upload.shard_row));
            }),
            0);
  Damage(1);
  Damage(3);
  EXPECT_EQ(Change([&](WriteTxn& txn) {
              return Get(DropDamagedReferences(txn, run_.project_id, upload.shard_row));
            }),
            2);
  EXPECT_EQ(FinishShard(*Write(), upload.shard_row, 1, now_).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(RowOf(1), 0) << "step 1 needs it";
  EXPECT_EQ(RowOf(3), 0) << "nobody does";
  ExpectSound();
}

TEST_F(DamageTest, AManifestIsComparedWheneverItIsRead) {
  const uint64_t id = Push(run_, {.step = 1, .seeds = {1, 2}});
  const std::string whole = [&] {
    auto txn = Read();
    auto rows = Get(txn->connection().Query("SELECT manifest FROM manifests"));
    EXPECT_TRUE(rows.Next());
    return rows.Text(0);
  }();
  const auto put = [&](const std::string& bytes) {
    Change([&](WriteTxn& txn) {
      Do(txn.connection().Run("UPDATE manifests SET manifest = ?1", Blob{bytes}));
    });
  };
  EXPECT_EQ(Get(CheckManifest(*Read(), 1)), whole.size());
  EXPECT_EQ(Get(FindDamagedManifest(*Read(), id)), std::nullopt);
  for (size_t at = 0; at < whole.size(); at += 7) {
    std::string bytes = whole;
    bytes[at] ^= 1;
    put(bytes);
    const absl::Status status = FindManifest(*Read(), id, 0).status();
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << at;
    ASSERT_EQ(ckpt::ReasonOf(status), ckpt::reason::kManifestDamaged) << at;
  }
  for (const std::string& bytes : {whole + "x", whole.substr(1), std::string()}) {
    put(bytes);
    EXPECT_EQ(ckpt::ReasonOf(CheckManifest(*Read(), 1).status()), ckpt::reason::kManifestDamaged);
  }
  EXPECT_EQ(Get(FindDamagedManifest(*Read(), id)), 0u);
  // It comes back with a push of the same, once it is known to be missing.
  Change([&](WriteTxn& txn) {
    EXPECT_FALSE(Get(HealManifests(txn, ManifestOf({1, 2}))));
    Do(MarkManifest(txn, id, 0, true));
    EXPECT_FALSE(Get(HealManifests(txn, ManifestOf({1}))));
    EXPECT_TRUE(Get(HealManifests(txn, ManifestOf({1, 2}))));
  });
  EXPECT_EQ(*Get(FindManifest(*Read(), id, 0)), ManifestOf({1, 2}));
  EXPECT_FALSE(Get(IsDamagedOnDisk(*Read(), id)));
}

TEST_F(DamageTest, AScrubListsWhatThereWasWhenItBeganInTheOrderOfTheDisk) {
  PushChain(3);
  const auto row = Get(NewScrub(*Read(), now_));
  EXPECT_TRUE(row.under_way);
  EXPECT_EQ(row.started_at, now_);
  Push(run_, {.step = 9, .seeds = {9}});
  std::vector<ckpt::Digest> listed;
  PackId pack = 0;
  uint64_t offset = 0;
  for (;;) {
    const auto next = Get(ListToScrub(*Read(), pack, offset, row.last_pack, 2));
    if (next.empty()) break;
    for (const ScrubChunk& chunk : next) {
      const ChunkLocation& at = chunk.chunk.location;
      EXPECT_TRUE(at.pack > pack || (at.pack == pack && at.offset > offset));
      EXPECT_TRUE(Get(IsStillThere(*Read(), chunk)));
      listed.push_back(chunk.chunk.digest);
      pack = at.pack;
      offset = at.offset;
    }
  }
  EXPECT_THAT(listed, ElementsAre(DigestOf(3), DigestOf(1), DigestOf(2)));
  int manifests = 0;
  int64_t shard = 0;
  while (const auto manifest = Get(NextManifest(*Read(), shard, row.last_shard_row))) {
    EXPECT_TRUE(manifest->status.ok());
    EXPECT_GT(manifest->bytes, 0u);
    shard = manifest->shard_row;
    ++manifests;
  }
  EXPECT_EQ(manifests, 3);
}

TEST_F(DamageTest, ThePlaceOfAScrubIsKept) {
  ScrubRow row{.under_way = true,
               .asked = true,
               .started_at = now_,
               .ended_at = now_,
               .shard_row = 1,
               .last_shard_row = 2,
               .pack = 3,
               .pack_offset = 4,
               .last_pack = 5,
               .bytes = 6,
               .chunks = 7,
               .manifests = 8,
               .packs = 9,
               .damaged_chunks = 10,
               .damaged_manifests = 11,
               .damaged_packs = 12,
               .unreadable = 13,
               .healed = 14};
  Change([&](WriteTxn& txn) { Do(SetScrub(txn, row)); });
  Reopen();
  const ScrubRow read = Get(GetScrub(*Read()));
  EXPECT_TRUE(read == row);
}

}  // namespace
}  // namespace ckptd::catalog
