#include "tests/unit/daemon/catalog/fixture.h"

namespace ckptd::catalog {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

class ChunksTest : public CatalogTest {
 protected:
  // Which seeds' extents wait to be given back, as (pack, offset).
  std::vector<std::pair<PackId, uint64_t>> Reclaims() {
    std::vector<std::pair<PackId, uint64_t>> extents;
    for (const Reclaim& reclaim : Get(ListReclaims(*Read(), 1000))) {
      extents.emplace_back(reclaim.location.pack, reclaim.location.offset);
    }
    return extents;
  }
  void FinishReclaims() {
    std::vector<int64_t> rows;
    for (const Reclaim& reclaim : Get(ListReclaims(*Read(), 1000))) rows.push_back(reclaim.row);
    Change([&](WriteTxn& txn) { Do(DeleteReclaims(txn, rows)); });
  }
  bool Has(const RunRow& run, int seed) {
    return !Get(FindChunks(*Read(), run.project_id, {DigestOf(seed)})).empty();
  }
};

TEST_F(ChunksTest, LocationsRoundTrip) {
  const RunRow run = MakeRun("a");
  const ChunkLocation location{1, uint64_t{5} << 40, 8192, 4097};
  Change([&](WriteTxn& txn) {
    const UploadRow upload = Open(txn, run, {.step = 1, .seeds = {1}});
    ASSERT_EQ(Get(StartPack(txn, upload.shard_row, now_)), 1u);
    Do(InsertChunks(txn, run.project_id, upload.shard_row, {{DigestOf(1), location}}));
  });
  const auto found = Get(FindChunks(*Read(), run.project_id, {DigestOf(1), DigestOf(2)}));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found.at(DigestOf(1)), location);
}

TEST_F(ChunksTest, AShardRefersToWhatIsPresentAndOnlyTheRestIsStored) {
  const RunRow run = MakeRun("a");
  const uint64_t first = Push(run, {.step = 1, .seeds = {1, 2, 3}});
  const uint64_t second = Push(run, {.step = 2, .seeds = {2, 3, 4}});
  EXPECT_EQ(Get(FindCheckpoint(*Read(), first))->stored_bytes, 3 * kExtent);
  EXPECT_EQ(Get(FindCheckpoint(*Read(), second))->stored_bytes, 1 * kExtent);
  const auto chunks = Get(CheckpointChunks(*Read(), second, 0));
  EXPECT_EQ(chunks.size(), 3u);
  EXPECT_EQ(chunks.at(DigestOf(2)), Get(CheckpointChunks(*Read(), first, 0)).at(DigestOf(2)));
  EXPECT_EQ(Get(ShardChunks(*Read(), Get(FindUpload(*Read(), run.id, 1, 2, 0))->shard_row)),
            chunks);
  EXPECT_TRUE(Get(CheckpointChunks(*Read(), second, 1)).empty());
  EXPECT_TRUE(Get(CheckpointChunks(*Read(), 99, 0)).empty());
  ExpectSound();
}

TEST_F(ChunksTest, SharingStaysInsideAProject) {
  const RunRow ours = MakeRun("a", "ours"), same = MakeRun("b", "ours"),
               theirs = MakeRun("a", "theirs");
  Push(ours, {.step = 1, .seeds = {1}});
  EXPECT_TRUE(Has(same, 1));
  EXPECT_FALSE(Has(theirs, 1));
  const uint64_t id = Push(theirs, {.step = 1, .seeds = {1}});
  EXPECT_EQ(Get(FindCheckpoint(*Read(), id))->stored_bytes, kExtent);
  ExpectSound();
}

TEST_F(ChunksTest, LengthsAreOfWhatTheProjectHas) {
  const RunRow run = MakeRun("a"), other = MakeRun("b", "theirs");
  Push(run, {.step = 1, .seeds = {1, 2}});
  Push(other, {.step = 1, .seeds = {3}});
  const auto lengths =
      Get(FindLengths(*Read(), run.project_id, {DigestOf(3), DigestOf(2), DigestOf(1)}));
  EXPECT_THAT(lengths, UnorderedElementsAre(std::pair(DigestOf(1), kLength),
                                            std::pair(DigestOf(2), kLength)));
}

TEST_F(ChunksTest, ReferringTwiceIsReferringOnce) {
  const RunRow run = MakeRun("a");
  Push(run, {.step = 1, .seeds = {1}});
  Change([&](WriteTxn& txn) {
    const UploadRow upload = Open(txn, run, {.step = 2, .seeds = {1, 9}});
    for (int round = 0; round < 2; ++round) {
      EXPECT_THAT(
          Get(ReferToPresent(txn, run.project_id, upload.shard_row, {DigestOf(1), DigestOf(9)})),
          ElementsAre(DigestOf(1)));
    }
    EXPECT_EQ(Get(ShardChunks(txn, upload.shard_row)).size(), 1u);
  });
}

TEST_F(ChunksTest, ADigestThatExistsKeepsItsPlaceAndTheNewCopyIsQueued) {
  const RunRow run = MakeRun("a");
  Push(run, {.step = 1, .seeds = {1}});
  const auto before = Get(FindChunks(*Read(), run.project_id, {DigestOf(1)}));
  const ChunkLocation copy{2, 3 * kExtent, kExtent, kLength};
  Change([&](WriteTxn& txn) {
    const UploadRow upload = Open(txn, run, {.step = 2, .seeds = {1}});
    ASSERT_EQ(Get(StartPack(txn, upload.shard_row, now_)), copy.pack);
    Do(InsertChunks(txn, run.project_id, upload.shard_row, {{DigestOf(1), copy}}));
    EXPECT_EQ(Get(FindUploadByRow(txn, upload.shard_row))->stored_bytes, 0u);
    EXPECT_EQ(Get(FinishShard(txn, upload.shard_row, 1, now_)), 2u);
  });
  EXPECT_EQ(Get(FindChunks(*Read(), run.project_id, {DigestOf(1)})), before);
  const auto reclaims = Get(ListReclaims(*Read(), 10));
  ASSERT_EQ(reclaims.size(), 1u);
  EXPECT_EQ(reclaims[0].location, copy);
  EXPECT_FALSE(reclaims[0].pack_empty) << "the pack is still written to";
  ExpectSound();
}

TEST_F(ChunksTest, RecordingTheSameCopyAgainQueuesNothing) {
  const RunRow run = MakeRun("a");
  Push(run, {.step = 1, .seeds = {1}});
  const auto known = Get(FindChunks(*Read(), run.project_id, {DigestOf(1)}));
  Change([&](WriteTxn& txn) {
    const UploadRow upload = Open(txn, run, {.step = 2, .seeds = {1}});
    Do(InsertChunks(txn, run.project_id, upload.shard_row, {{DigestOf(1), known.at(DigestOf(1))}}));
  });
  EXPECT_TRUE(Reclaims().empty());
}

TEST_F(ChunksTest, ReleaseQueuesExactlyTheUnreferencedExtents) {
  struct Case {
    std::string what;
    std::vector<int> first, second;
    std::vector<uint64_t> want_offsets;  // of the first's pack
  };
  for (const Case& c : std::vector<Case>{
           {"nothing shared", {1, 2}, {3}, {0, kExtent}},
           {"one of three shared", {1, 2, 3}, {2}, {0, 2 * kExtent}},
           {"all shared", {1, 2}, {2, 1, 5}, {}},
           {"a chunk twice in one shard", {1, 1, 2}, {2}, {0}},
           {"no chunks at all", {}, {1}, {}},
       }) {
    SCOPED_TRACE(c.what);
    const RunRow run = MakeRun("run", "project-" + std::to_string(c.first.size()) + "-" +
                                          std::to_string(c.want_offsets.size()) + "-" +
                                          std::to_string(c.second.size()));
    const uint64_t first = Push(run, {.step = 1, .seeds = c.first});
    const uint64_t second = Push(run, {.step = 2, .seeds = c.second});
    FinishReclaims();
    Remove(first);
    EXPECT_TRUE(Reclaims().empty()) << "removal alone gives nothing back";
    const uint64_t freed = Get(FreedBy(*Read(), {first}));
    Release(first);
    std::vector<uint64_t> offsets;
    for (const auto& [pack, offset] : Reclaims()) offsets.push_back(offset);
    EXPECT_THAT(offsets, ::testing::UnorderedElementsAreArray(c.want_offsets));
    EXPECT_EQ(freed, c.want_offsets.size() * kExtent);
    EXPECT_EQ(Get(CheckpointChunks(*Read(), second, 0)).size(),
              std::set<int>(c.second.begin(), c.second.end()).size());
    EXPECT_TRUE(Get(CheckpointChunks(*Read(), first, 0)).empty());
    EXPECT_FALSE(Get(FindManifest(*Read(), first, 0))) << "manifests go with the space";
    EXPECT_TRUE(Get(FindCheckpoint(*Read(), first))) << "history stays";
    ExpectSound();
    FinishReclaims();
  }
}

TEST_F(ChunksTest, ReleaseTakesAllShardsOfACheckpoint) {
  const RunRow run = MakeRun("a");
  Push(run, {.step = 1, .seeds = {1, 2}, .rank = 0, .world_size = 2});
  const uint64_t id = Push(run, {.step = 1, .seeds = {2, 3}, .rank = 1, .world_size = 2});
  Remove(id);
  Release(id);
  EXPECT_EQ(Reclaims().size(), 3u);
  EXPECT_EQ(Get(GetFigures(*Read(), std::nullopt, std::nullopt)).chunks, 0u);
  ExpectSound();
}

TEST_F(ChunksTest, ReleaseHappensAtMostOnceAndOnlyToTheRemoved) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1, .seeds = {1}});
  EXPECT_FALSE(ReleaseCheckpoint(*Write(), id, 9).ok());
  EXPECT_FALSE(ReleaseCheckpoint(*Write(), 99, 9).ok());
  Remove(id);
  Release(id);
  EXPECT_FALSE(ReleaseCheckpoint(*Write(), id, 9).ok());
  EXPECT_EQ(Reclaims().size(), 1u);
}

TEST_F(ChunksTest, AReleaseInPartsGoesOnWhereItEndedAndCannotBeTakenBack) {
  const RunRow run = MakeRun("a");
  Push(run, {.step = 1, .seeds = {1, 2, 3}, .rank = 0, .world_size = 2});
  const uint64_t id = Push(run, {.step = 1, .seeds = {3, 4, 5}, .rank = 1, .world_size = 2});
  Push(run, {.step = 2, .seeds = {5}});
  Remove(id);
  const auto release = [&] {
    return Change([&](WriteTxn& txn) { return Get(ReleaseCheckpoint(txn, id, 2)); });
  };
  int parts = 1;
  for (; !release(); ++parts) {
    ExpectSound();
    EXPECT_THAT(Get(ListReclaimable(*Read(), now_)), ElementsAre(id));
    EXPECT_FALSE(MarkRestored(*Write(), id).ok());
    Reopen();
  }
  EXPECT_GT(parts, 2);
  EXPECT_TRUE(Get(ListReclaimable(*Read(), now_)).empty());
  EXPECT_EQ(Reclaims().size(), 4u);
  EXPECT_TRUE(Has(run, 5));
  ExpectSound();
}

TEST_F(ChunksTest, AReleaseThatIsRolledBackReleasesNothing) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1, .seeds = {1, 2}});
  Remove(id);
  {
    auto txn = Write();
    EXPECT_TRUE(Get(ReleaseCheckpoint(*txn, id, 9)));
  }
  EXPECT_TRUE(Reclaims().empty());
  EXPECT_EQ(Get(CheckpointChunks(*Read(), id, 0)).size(), 2u);
  ExpectSound();
}

TEST_F(ChunksTest, AChunkOfferedAgainAfterReleaseIsMissing) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1, .seeds = {1}});
  Remove(id);
  Release(id);
  EXPECT_FALSE(Has(run, 1)) << "an extent on its way out was lent again";
  Push(run, {.step = 2, .seeds = {1}});
  EXPECT_TRUE(Has(run, 1));
  ExpectSound();
}

TEST_F(ChunksTest, APackIsEmptyOnceItsLastChunkAndReclaimAreGone) {
  const RunRow run = MakeRun("a");
  const uint64_t first = Push(run, {.step = 1, .seeds = {1, 2}});  // pack 1
  const uint64_t second = Push(run, {.step = 2, .seeds = {2}});    // pack 2 holds nothing
  EXPECT_THAT(Get(ListEmptyPacks(*Read())), ElementsAre(2));
  Change([](WriteTxn& txn) { Do(DeletePack(txn, 2)); });

  Remove(first);
  Release(first);
  ASSERT_EQ(Get(ListReclaims(*Read(), 10)).size(), 1u);
  EXPECT_FALSE(Get(ListReclaims(*Read(), 10))[0].pack_empty);
  FinishReclaims();
  EXPECT_TRUE(Get(ListEmptyPacks(*Read())).empty()) << "chunk 2 still lives there";
  EXPECT_FALSE(DeletePack(*Write(), 1).ok());

  Remove(second);
  Release(second);
  EXPECT_TRUE(Get(ListReclaims(*Read(), 10))[0].pack_empty);
  EXPECT_TRUE(Get(ListEmptyPacks(*Read())).empty()) << "an extent still waits";
  FinishReclaims();
  EXPECT_THAT(Get(ListEmptyPacks(*Read())), ElementsAre(1));
  Change([](WriteTxn& txn) { Do(DeletePack(txn, 1)); });
  EXPECT_TRUE(Get(ListPacks(*Read())).empty());
}

TEST_F(ChunksTest, DeletingAPackForgetsItsReclaims) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1, .seeds = {1, 2}});
  Remove(id);
  Release(id);
  Change([](WriteTxn& txn) { Do(DeletePack(txn, 1)); });
  EXPECT_TRUE(Reclaims().empty());
  ExpectSound();
}

TEST_F(ChunksTest, ReclaimsAreListedOldestFirstAndLimited) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1, .seeds = {1, 2, 3}});
  Remove(id);
  Release(id);
  const auto reclaims = Get(ListReclaims(*Read(), 2));
  ASSERT_EQ(reclaims.size(), 2u);
  Change([&](WriteTxn& txn) { Do(DeleteReclaims(txn, {reclaims[0].row, reclaims[1].row})); });
  EXPECT_EQ(Reclaims().size(), 1u);
}

TEST_F(ChunksTest, OpenPacksNameTheirUpload) {
  const RunRow run = MakeRun("a");
  const UploadRow upload = Change([&](WriteTxn& txn) {
    UploadRow row = Open(txn, run, {.step = 1, .seeds = {1}});
    Get(StartPack(txn, row.shard_row, now_));
    return row;
  });
  Reopen();  // as after a crash
  const auto packs = Get(ListOpenPacks(*Read()));
  ASSERT_EQ(packs.size(), 1u);
  EXPECT_EQ(packs[0].id, 1u);
  EXPECT_EQ(packs[0].shard_row, upload.shard_row);
  EXPECT_THAT(Get(ListPacks(*Read())), ElementsAre(1));
  Change([](WriteTxn& txn) { Do(SealPack(txn, 1)); });
  EXPECT_TRUE(Get(ListOpenPacks(*Read())).empty());
}

TEST_F(ChunksTest, FreedByCountsWhatGoesTogetherOnce) {
  const RunRow run = MakeRun("a");
  const uint64_t a = Push(run, {.step = 1, .seeds = {1, 2, 3}});
  const uint64_t b = Push(run, {.step = 2, .seeds = {2, 3, 4}});
  const uint64_t c = Push(run, {.step = 3, .seeds = {3, 5}});
  for (const auto& [ids, want] :
       std::vector<std::pair<std::vector<uint64_t>, uint64_t>>{{{}, 0},
                                                               {{a}, 1},
                                                               {{b}, 1},
                                                               {{c}, 1},
                                                               {{a, b}, 3},
                                                               {{b, c}, 2},
                                                               {{a, b, c}, 5},
                                                               {{a, a}, 1},
                                                               {{99}, 0}}) {
    SCOPED_TRACE(::testing::PrintToString(ids));
    EXPECT_EQ(Get(FreedBy(*Read(), ids)), want * kExtent);
  }
}

TEST_F(ChunksTest, FiguresOfAllOfAProjectAndOfARun) {
  const RunRow a = MakeRun("a", "p"), b = MakeRun("b", "p"), c = MakeRun("c", "q");
  const uint64_t first = Push(a, {.step = 1, .seeds = {1, 2}});
  Push(a, {.step = 2, .seeds = {2, 3}});
  Push(b, {.step = 1, .seeds = {3}});
  Push(c, {.step = 1, .seeds = {3}});
  Change([&](WriteTxn& txn) { Open(txn, b, {.step = 2, .seeds = {7}}); });
  Remove(first);
  Release(first);
  struct Case {
    std::string what;
    std::optional<int64_t> project, run;
    Figures want;
  };
  for (const Case& t : std::vector<Case>{
           {"all", std::nullopt, std::nullopt, {3, 3, 4 * kLength, 3 * kExtent, 3, 1 * kExtent, 1}},
           {"project p",
            a.project_id,
            std::nullopt,
            {2, 2, 3 * kLength, 2 * kExtent, 2, 1 * kExtent, 1}},
           {"run a", std::nullopt, a.id, {1, 1, 2 * kLength, 2 * kExtent, 2, 0, 0}},
           {"run b of p", b.project_id, b.id, {1, 1, 1 * kLength, 1 * kExtent, 1, 0, 1}},
           {"nobody", std::nullopt, 99, {}},
       }) {
    SCOPED_TRACE(t.what);
    const Figures got = Get(GetFigures(*Read(), t.project, t.run));
    EXPECT_EQ(got.runs, t.want.runs);
    EXPECT_EQ(got.checkpoints, t.want.checkpoints);
    EXPECT_EQ(got.logical_bytes, t.want.logical_bytes);
    EXPECT_EQ(got.stored_bytes, t.want.stored_bytes);
    EXPECT_EQ(got.chunks, t.want.chunks);
    EXPECT_EQ(got.reclaimable_bytes, t.want.reclaimable_bytes);
    EXPECT_EQ(got.open_uploads, t.want.open_uploads);
  }
}

TEST_F(ChunksTest, DisagreementsAreFound) {
  const RunRow run = MakeRun("a");
  Push(run, {.step = 1, .seeds = {1, 2}});
  const uint64_t removed = Push(run, {.step = 2, .seeds = {3}});
  Remove(removed);
  Release(removed);
  for (const auto& [sql, want] : std::vector<std::pair<std::string, std::string>>{
           {"DELETE FROM shard_chunks WHERE chunk_row = 1", "lacks its chunk"},
           {"UPDATE chunks SET length = 5 WHERE row = 1", "has 5 bytes"},
           {"UPDATE chunks SET digest = zeroblob(32) WHERE row = 1", "lacks its chunk"},
           {"DELETE FROM manifests", "no manifest"},
           {"UPDATE checkpoints SET reclaimed = 0 WHERE id = 2", "no manifest"},
           {"UPDATE shards SET durable = 0", "not all shards are durable"},
           {"UPDATE projects SET chunks = 9", "figures are wrong of the project"},
           {"UPDATE runs SET removed = 9", "figures are wrong of the run"},
           {"UPDATE reclaims SET pack = 1", "extent to be given back"},
       }) {
    SCOPED_TRACE(sql);
    auto txn = Write();
    Do(txn->connection().Script(sql));
    const absl::Status status = CheckReferences(*txn);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(want));
  }
  ExpectSound();
}

}  // namespace
}  // namespace ckptd::catalog
