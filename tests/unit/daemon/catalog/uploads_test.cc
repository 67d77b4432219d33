#include <limits>

#include "tests/unit/daemon/catalog/fixture.h"

namespace ckptd::catalog {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;
using UploadsTest = CatalogTest;

TEST_F(UploadsTest, AnUploadRoundTrips) {
  const RunRow run = MakeRun("a");
  const ckpt::Manifest manifest = ManifestOf({1, 2, 2});
  const UploadRow upload = Change([&](WriteTxn& txn) {
    return Open(txn, run, {.step = 7, .seeds = {1, 2, 2}, .rank = 1, .world_size = 2});
  });
  for (const auto& found : {Get(FindUpload(*Read(), run.id, 1, 7, 1)),
                            Get(FindUploadByRow(*Read(), upload.shard_row))}) {
    ASSERT_TRUE(found);
    EXPECT_EQ(found->shard_row, upload.shard_row);
    EXPECT_EQ(found->checkpoint_row, upload.checkpoint_row);
    EXPECT_EQ(found->run_id, run.id);
    EXPECT_EQ(found->project_id, run.project_id);
    EXPECT_EQ(found->attempt, 1u);
    EXPECT_EQ(found->step, 7u);
    EXPECT_EQ(found->rank, 1u);
    EXPECT_EQ(found->world_size, 2u);
    EXPECT_EQ(found->manifest_digest, ManifestDigest(manifest));
    EXPECT_FALSE(found->durable);
    EXPECT_EQ(found->checkpoint_id, 0u);
    EXPECT_EQ(found->pack, 0u);
    EXPECT_EQ(found->opened_at, now_);
  }
  EXPECT_EQ(Get(GetUploadManifest(*Read(), upload.shard_row)), manifest);
  EXPECT_FALSE(Get(FindUpload(*Read(), run.id, 1, 7, 0)));
  EXPECT_EQ(GetUploadManifest(*Read(), 99).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(UploadsTest, TheLastDurableShardCommitsTheCheckpoint) {
  const RunRow run = MakeRun("a");
  EXPECT_EQ(Push(run, {.step = 1, .seeds = {1, 2}, .rank = 0, .world_size = 2}), 0u);
  EXPECT_TRUE(Get(ListCheckpoints(*Read(), run.id, {})).empty());
  const auto first = Get(FindUpload(*Read(), run.id, 1, 1, 0));
  EXPECT_TRUE(first->durable);
  EXPECT_EQ(Get(CountDurable(*Read(), first->checkpoint_row)), 1u);
  EXPECT_EQ(Get(ListOpenUploads(*Read())).size(), 1u);

  now_ += absl::Minutes(1);
  const uint64_t id = Push(run, {.step = 1, .seeds = {2, 3}, .rank = 1, .world_size = 2});
  EXPECT_EQ(id, 1u);
  const auto checkpoint = Get(FindCheckpoint(*Read(), id));
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->committed_at, now_);
  EXPECT_EQ(checkpoint->world_size, 2u);
  EXPECT_EQ(checkpoint->bytes, 4 * kLength);
  EXPECT_EQ(checkpoint->stored_bytes, 3 * kExtent);
  EXPECT_TRUE(Get(ListOpenUploads(*Read())).empty());
  EXPECT_EQ(Get(FindUpload(*Read(), run.id, 1, 1, 0))->checkpoint_id, id);
  EXPECT_EQ(*Get(FindManifest(*Read(), id, 1)), ManifestOf({2, 3}));
  ExpectSound();
}

TEST_F(UploadsTest, ARepeatedFinishAnswersAsTheFirst) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Push(run, {.step = 1, .seeds = {1}});
  const int64_t shard = Get(FindUpload(*Read(), run.id, 1, 1, 0))->shard_row;
  now_ += absl::Hours(1);
  EXPECT_EQ(Change([&](WriteTxn& txn) { return Get(FinishShard(txn, shard, 1, now_)); }), id);
  EXPECT_EQ(Get(FindCheckpoint(*Read(), id))->committed_at, now_ - absl::Hours(1));
}

TEST_F(UploadsTest, IdsAreGivenInTheOrderOfCommits) {
  const RunRow run = MakeRun("a");
  UploadRow opened_first = Change([&](WriteTxn& txn) {
    UploadRow upload = Open(txn, run, {.step = 1, .seeds = {1}});
    Store(txn, run, upload.shard_row, {1});
    return upload;
  });
  EXPECT_EQ(Push(run, {.step = 2, .seeds = {2}}), 1u);
  EXPECT_EQ(
      Change([&](WriteTxn& txn) { return Get(FinishShard(txn, opened_first.shard_row, 1, now_)); }),
      2u);
  std::vector<uint64_t> steps;
  for (const auto& checkpoint : Get(ListCheckpoints(*Read(), run.id, {}))) {
    steps.push_back(checkpoint.step);
  }
  EXPECT_THAT(steps, ElementsAre(1, 2)) << "newest commit first";
}

TEST_F(UploadsTest, AShardWithoutAllItsChunksIsNotFinished) {
  const RunRow run = MakeRun("a");
  auto txn = Write();
  const UploadRow upload = Open(*txn, run, {.step = 1, .seeds = {1, 2, 2}});
  Store(*txn, run, upload.shard_row, {1});
  const absl::Status status = FinishShard(*txn, upload.shard_row, 1, now_).status();
  EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kChunksMissing);
  EXPECT_FALSE(Get(FindUploadByRow(*txn, upload.shard_row))->durable);
  Store(*txn, run, upload.shard_row, {2});
  EXPECT_EQ(Get(FinishShard(*txn, upload.shard_row, 1, now_)), 1u);
}

TEST_F(UploadsTest, NotesOfAllShardsAreJoined) {
  const RunRow run = MakeRun("a");
  const uint64_t id = Change([&](WriteTxn& txn) {
    NewUpload first{.run_id = run.id, .attempt = 1, .step = 1, .rank = 0, .world_size = 2};
    first.metrics = {{"loss", 0.5}};
    first.pending_metrics = {"val_loss", "bleu"};
    first.labels = {{"host", "a"}, {"job", "1"}};
    NewUpload second = first;
    second.rank = 1;
    second.metrics = {{"val_loss", 0.25}};
    second.pending_metrics = {"loss"};
    second.labels = {{"host", "b"}};
    uint64_t committed = 0;
    for (const NewUpload& upload : {first, second}) {
      const UploadRow row = Get(InsertUpload(txn, upload, ManifestOf({}), now_));
      committed = Get(FinishShard(txn, row.shard_row, 1, now_));
    }
    return committed;
  });
  const auto checkpoint = Get(FindCheckpoint(*Read(), id));
  EXPECT_THAT(checkpoint->metrics, ElementsAre(Pair("loss", 0.5), Pair("val_loss", 0.25)));
  EXPECT_THAT(checkpoint->pending_metrics, ElementsAre("bleu"));
  EXPECT_THAT(checkpoint->labels, ElementsAre(Pair("host", "b"), Pair("job", "1")));
}

TEST_F(UploadsTest, WrongUploadsAreRefused) {
  const RunRow run = MakeRun("a");
  Push(run, {.step = 1, .seeds = {1}});
  Push(run, {.step = 2, .seeds = {1}, .rank = 0, .world_size = 2});
  struct Case {
    std::string what;
    NewUpload upload;
    std::string reason;
  };
  const auto upload = [&](uint64_t step, uint32_t rank, uint32_t world_size) {
    return NewUpload{
        .run_id = run.id, .attempt = 1, .step = step, .rank = rank, .world_size = world_size};
  };
  for (const Case& c : std::vector<Case>{
           {"another rank of a committed step", upload(1, 1, 1), ckpt::reason::kStepContentDiffers},
           {"another world size", upload(2, 1, 3), ckpt::reason::kWorldSizeDiffers},
           {"a step that cannot be sorted", upload(1ull << 63, 0, 1), ckpt::reason::kBadField},
       }) {
    SCOPED_TRACE(c.what);
    auto txn = Write();
    EXPECT_EQ(ckpt::ReasonOf(InsertUpload(*txn, c.upload, ManifestOf({}), now_).status()),
              c.reason);
  }
  EXPECT_EQ(Push(run, {.step = std::numeric_limits<int64_t>::max()}), 2u);
}

TEST_F(UploadsTest, PackIdsAreNeverUsedAgain) {
  const RunRow run = MakeRun("a");
  const UploadRow upload =
      Change([&](WriteTxn& txn) { return Open(txn, run, {.step = 1, .seeds = {1}}); });
  const auto start = [&] {
    return Change([&](WriteTxn& txn) { return Get(StartPack(txn, upload.shard_row, now_)); });
  };
  const PackId first = start();
  EXPECT_EQ(Get(FindUploadByRow(*Read(), upload.shard_row))->pack, first);
  Change([&](WriteTxn& txn) {
    Do(SealPack(txn, first));
    Do(DeletePack(txn, first));
  });
  EXPECT_EQ(Get(FindUploadByRow(*Read(), upload.shard_row))->pack, 0u);
  EXPECT_TRUE(Get(ListPacks(*Read())).empty());
  Reopen();
  EXPECT_EQ(start(), first + 1);
}

TEST_F(UploadsTest, ADroppedUploadGivesItsChunksBackButNotThoseOfOthers) {
  const RunRow run = MakeRun("a");
  Push(run, {.step = 1, .seeds = {1, 2}});
  const UploadRow upload = Change([&](WriteTxn& txn) {
    UploadRow row = Open(txn, run, {.step = 2, .seeds = {2, 3}});
    Store(txn, run, row.shard_row, {2, 3});
    Get(StartPack(txn, row.shard_row, now_));
    return row;
  });
  Change([&](WriteTxn& txn) { Do(DropUpload(txn, upload.shard_row)); });

  auto txn = Read();
  EXPECT_FALSE(Get(FindUploadByRow(*txn, upload.shard_row)));
  EXPECT_EQ(Get(ListReclaims(*txn, 10)).size(), 1u);
  EXPECT_EQ(Get(FindChunks(*txn, run.project_id, {DigestOf(2), DigestOf(3)})).size(), 1u);
  const auto open_packs = Get(ListOpenPacks(*txn));
  ASSERT_EQ(open_packs.size(), 1u);
  EXPECT_EQ(open_packs[0].shard_row, 0) << "its upload is gone";
  EXPECT_EQ(GetUploadManifest(*txn, upload.shard_row).status().code(), absl::StatusCode::kNotFound);
  txn.reset();
  ExpectSound();

  const UploadRow again =
      Change([&](WriteTxn& write) { return Open(write, run, {.step = 2, .seeds = {4}}); });
  EXPECT_GT(again.shard_row, upload.shard_row) << "an upload's id came twice";
}

TEST_F(UploadsTest, TheCheckpointGoesWithItsLastDroppedShard) {
  const RunRow run = MakeRun("a");
  std::vector<UploadRow> uploads;
  for (uint32_t rank : {0u, 1u}) {
    uploads.push_back(Change([&](WriteTxn& txn) {
      return Open(txn, run, {.step = 1, .rank = rank, .world_size = 2, .metrics = {{"loss", 1.0}}});
    }));
  }
  Change([&](WriteTxn& txn) { Do(DropUpload(txn, uploads[0].shard_row)); });
  EXPECT_TRUE(Get(FindUploadByRow(*Read(), uploads[1].shard_row)));
  Change([&](WriteTxn& txn) { Do(DropUpload(txn, uploads[1].shard_row)); });
  EXPECT_TRUE(Get(ListOpenUploads(*Read())).empty());
  // The step is free for another world size.
  EXPECT_EQ(Push(run, {.step = 1, .world_size = 1}), 1u);
  EXPECT_TRUE(Get(FindCheckpoint(*Read(), 1))->metrics.empty());
}

TEST_F(UploadsTest, AShardOfACommittedCheckpointIsNotDropped) {
  const RunRow run = MakeRun("a");
  Push(run, {.step = 1, .seeds = {1}});
  const int64_t shard = Get(FindUpload(*Read(), run.id, 1, 1, 0))->shard_row;
  auto txn = Write();
  EXPECT_EQ(DropUpload(*txn, shard).code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace ckptd::catalog
