// History is laid on disk in fewer bytes, and nothing is ever lost by it.
#include <algorithm>
#include <atomic>

#include "daemon/catalog/uploads.h"
#include "daemon/chunks/codec.h"
#include "daemon/chunks/pack_store.h"
#include "tests/unit/daemon/store/packing_fixture.h"

namespace ckptd {
namespace {

using os::Op;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(PackingTest, HistoryTakesFewerBytesAndReadsAsItCame) {
  options_.compress = false;
  Reopen();
  PushStates(1, 12);
  ASSERT_TRUE(IsReclaimed());
  const uint64_t raw = DiskBytes();
  const auto before = Get(store_->GetStats(std::nullopt));
  options_.compress = true;
  Reopen();
  ASSERT_TRUE(IsPacked({12}));
  EXPECT_LT(DiskBytes(), raw * 75 / 100);
  const auto after = Get(store_->GetStats(std::nullopt));
  EXPECT_EQ(after.logical_bytes, before.logical_bytes);
  EXPECT_LT(after.stored_bytes, before.stored_bytes * 75 / 100);
  EXPECT_EQ(after.disk_bytes, DiskBytes());
  const Metrics& counted = store_->metrics();
  EXPECT_EQ(counted.packed_bytes_before.value() - counted.packed_bytes_after.value(),
            before.stored_bytes - after.stored_bytes);
  EXPECT_GT(counted.packed_chunks.value(), 10u);
  // What was moved came back to the file system.
  EXPECT_EQ(counted.reclaimed_bytes.value(), counted.packed_bytes_before.value());
  ExpectWhole({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  Reopen();
  ExpectWhole({1, 5, 11, 12});
}

TEST_F(PackingTest, LatestAndWhatItSharesLieAsTheyCame) {
  PushStates(1, 4);
  ASSERT_TRUE(IsPacked({4}));
  EXPECT_THAT(Links(4), ElementsAre(-1, -1, -1));
  for (const uint64_t step : {1, 2, 3}) {
    EXPECT_THAT(Links(step), ElementsAre(Gt(0), Gt(0), -1)) << step;  // the last is frozen
  }
  PushStates(5, 5);
  ASSERT_TRUE(IsPacked({5}));
  EXPECT_THAT(Links(5), Each(-1));
  EXPECT_THAT(Links(4), ElementsAre(1, 1, -1));
  ExpectWhole({1, 2, 3, 4, 5});
}

TEST_F(PackingTest, ChainsEndAndBeginAgain) {
  PushStates(1, 1);
  constexpr uint64_t kLast = catalog::kMaxBases + 4;
  for (uint64_t step = 2; step <= kLast; ++step) {
    PushStates(step, step);
    ASSERT_TRUE(IsPacked({step}));
  }
  std::vector<int> links;
  for (uint64_t step = 1; step <= kLast; ++step) links.push_back(Links(step)[0]);
  EXPECT_THAT(links, Contains(catalog::kMaxBases));
  EXPECT_THAT(links, Contains(0));  // encoded without a base
  EXPECT_THAT(links, Each(::testing::Le(catalog::kMaxBases)));
  ExpectWhole({1, 2, kLast / 2, kLast - 1, kLast});
}

TEST_F(PackingTest, BestPinnedAndNamedLieAsTheyCame) {
  ckpt::Policy policy = KeepAll();
  policy.keep_best = {{"loss", ckpt::MetricMode::kMin, 1}};
  attempt_ = Attempt("a", 1, r_, policy);
  options_.compress = false;
  Reopen();
  PushState(1, {{"loss", 1.0}});
  PushState(2, {{"loss", 0.5}});
  PushState(3, {{"loss", 2.0}});
  PushState(4, {{"loss", 2.0}});
  PushState(5, {{"loss", 2.0}});
  PushState(6, {{"loss", 2.0}});
  Get(store_->Pin(r_, ids_[3], "kept"));
  Get(store_->SetAlias(r_, ids_[4], "named"));
  options_.compress = true;
  Reopen();
  ASSERT_TRUE(IsPacked({6, 4, 3, 2}));
  for (const uint64_t step : {2, 3, 4, 6}) EXPECT_THAT(Links(step), Each(-1)) << step;
  for (const uint64_t step : {1, 5}) EXPECT_THAT(Links(step)[0], Gt(-1)) << step;
  // What is let go becomes history with the next commit.
  Get(store_->Unpin(r_, ids_[3], "kept"));
  PushState(7, {{"loss", 0.1}});
  ASSERT_TRUE(IsPacked({7, 4}));
  for (const uint64_t step : {2, 3, 6}) EXPECT_THAT(Links(step)[0], Gt(-1)) << step;
  // What becomes the latest again reads as before, though it stays encoded.
  Get(store_->Rewind(r_, ids_[1]));
  ExpectWhole({1, 2, 3, 4, 5, 6, 7});
}

TEST_F(PackingTest, ABaseThatIsOnlyABaseIsGivenBackByEncodingAnew) {
  PushStates(1, 6);
  ASSERT_TRUE(IsPacked({6}));
  EXPECT_THAT(Links(2)[0], Gt(0));
  Get(store_->DeleteCheckpoints(r_, {ids_[3], ids_[4]}, false));
  // At once readable, and sooner or later without the two.
  ExpectWhole({1, 2, 5, 6});
  ASSERT_TRUE(IsPacked({6}));
  const auto locations = Locations(2);
  const ckpt::Digest gone = StateOf(3).manifest.chunks[0].digest;
  EXPECT_TRUE(Eventually([&] {
    const auto at = Locations(2).at(StateOf(2).manifest.chunks[0].digest);
    return at.base == nullptr || at.base->digest != gone;
  }));
  ExpectWhole({1, 2, 5, 6});
  // All the rest: nothing but the newest is left on disk.
  Get(store_->DeleteCheckpoints(r_, {ids_[1], ids_[2], ids_[5]}, false));
  ASSERT_TRUE(IsReclaimed());
  EXPECT_TRUE(Eventually([&] { return DiskBytes() < 3 * (kFloats * sizeof(float) + 16384); }));
  ExpectWhole({6});
}

TEST_F(PackingTest, RollingHistoryLeavesNothingBehind) {
  attempt_ = Attempt("a", 1, r_, KeepLast(3));
  for (uint64_t step = 1; step <= 12; ++step) {
    PushState(step);
    if (step % 3 != 0) continue;
    ASSERT_TRUE(IsReclaimed());
  }
  ASSERT_TRUE(IsPacked({12}));
  EXPECT_EQ(Steps(), (std::vector<uint64_t>{12, 11, 10}));
  EXPECT_LT(DiskBytes(), (1 + 3 * kLargeTensors) * kFloats * sizeof(float));
  ExpectWhole({10, 11, 12});
}

TEST_F(PackingTest, WhateverFailsNothingIsLost) {
  options_.compress = false;
  Reopen();
  PushStates(1, 4);
  ASSERT_TRUE(IsReclaimed());
  Close();
  const std::string pristine = options_.data_dir;
  int round = 0;
  struct Case {
    Op op;
    int last;
  };
  for (const Case& c : {Case{Op::kCreate, 2}, Case{Op::kCreateDirs, 2}, Case{Op::kWrite, 6},
                        Case{Op::kSyncData, 3}, Case{Op::kSyncDir, 3}, Case{Op::kPunch, 3},
                        Case{Op::kRead, 4}, Case{Op::kOpen, 2}}) {
    for (int n = 1; n <= c.last; ++n) {
      SCOPED_TRACE(std::string(os::OpName(c.op)) + " " + std::to_string(n));
      options_.data_dir = dir_ / ("round" + std::to_string(++round));
      std::filesystem::copy(pristine, options_.data_dir,
                            std::filesystem::copy_options::recursive);
      options_.compress = false;
      Open();
      ASSERT_TRUE(IsReclaimed());
      Close();
      options_.compress = true;
      Open();
      fs_.FailNth(c.op, n);
      ASSERT_TRUE(IsPacked({4}));
      EXPECT_THAT(Links(2)[0], Gt(-1));
      // A read that fails here is this reader's, once.
      for (int i = 0; i < c.last; ++i) (void)store_->GetStats(std::nullopt);
      (void)store_->Verify(r_, 0, [](const auto&) { return true; });
      ExpectWhole({1, 2, 3, 4});
      ExpectSound();
      std::filesystem::remove_all(options_.data_dir);
    }
  }
  options_.data_dir = pristine;
  Open();
}

TEST_F(PackingTest, APackOfAKilledPackerIsRemoved) {
  PushStates(1, 3);
  ASSERT_TRUE(IsPacked({3}));
  Close();
  const Layout layout(options_.data_dir);
  PackId unfinished = 0;
  {
    auto catalog = Get(catalog::Catalog::Open(layout.Catalog()));
    auto txn = Get(catalog->BeginWrite());
    unfinished = Get(catalog::StartOwnPack(*txn, clock_.Now()));
    ASSERT_TRUE(txn->Commit().ok());
    auto chunks = Get(OpenPackStore(real_.get(), options_.data_dir));
    auto writer = Get(chunks->NewPack(unfinished));
    const State state = StateOf(1);
    const uint32_t length = state.manifest.chunks[0].length;
    const auto bytes = std::span<const std::byte>(state.bytes).first(length);
    const auto encoded = *EncodeChunk(state.manifest.chunks[0].digest, bytes, std::nullopt, {});
    Get(writer->AppendEncoded(length, encoded));
  }
  ASSERT_TRUE(std::filesystem::exists(layout.Pack(unfinished)));
  Open();
  EXPECT_TRUE(Eventually([&] { return !std::filesystem::exists(layout.Pack(unfinished)); }));
  ExpectWhole({1, 2, 3});
}

TEST_F(PackingTest, AReaderGoesOnWhenItsChunksMove) {
  options_.compress = false;
  Reopen();
  PushStates(1, 2);
  const State state = StateOf(1), newer = StateOf(2);
  auto reader = Get(store_->OpenReader(ids_[1], 0));
  // As the packer does, had it looked just before the reader came: first chunk
  // 0 moves as it is, then its base under it.
  const auto move = [&](const State& of, uint64_t user, const std::optional<State>& base) {
    auto catalog = Get(catalog::Catalog::Open(Layout(options_.data_dir).Catalog()));
    auto chunks = Get(OpenPackStore(real_.get(), options_.data_dir));
    auto txn = Get(catalog->BeginWrite());
    const int64_t project = Get(catalog::FindRun(*txn, r_))->project_id;
    const uint32_t length = of.manifest.chunks[0].length;
    const auto row = Get(catalog::FindChunkRow(*txn, project, of.manifest.chunks[0].digest));
    std::optional<catalog::ChunkRow> base_row;
    std::optional<CodecBase> codec_base;
    if (base) {
      base_row = Get(catalog::FindChunkRow(*txn, project, base->manifest.chunks[0].digest));
      codec_base = CodecBase{base_row->chunk.digest,
                             std::span<const std::byte>(base->bytes).first(length)};
    }
    const PackId pack = Get(catalog::StartOwnPack(*txn, clock_.Now()));
    auto writer = Get(chunks->NewPack(pack));
    const auto encoded =
        *EncodeChunk(row->chunk.digest, std::span<const std::byte>(of.bytes).first(length),
                     codec_base, {});
    const ChunkLocation to = Get(writer->AppendEncoded(length, encoded));
    ASSERT_TRUE(writer->MakeDurable().ok());
    ASSERT_TRUE(Get(catalog::MoveChunk(*txn, project, *row, to, base_row, {user})));
    ASSERT_TRUE(catalog::SealPack(*txn, pack).ok());
    ASSERT_TRUE(txn->Commit().ok());
  };
  const auto whole = std::span(state.bytes).first(state.manifest.chunks[0].length);
  const auto expect_read = [&](Store::Reader& from) {
    ASSERT_TRUE(IsReclaimed());  // what it left is punched, or its pack unlinked
    const auto read = from.Read(0);
    ASSERT_EQ(Why(read), "OK");
    EXPECT_TRUE(std::ranges::equal((*read)->bytes(), whole));
  };
  move(state, ids_[1], newer);
  expect_read(*reader);
  auto second = Get(store_->OpenReader(ids_[1], 0));
  move(newer, ids_[2], std::nullopt);
  expect_read(*second);
  expect_read(*reader);
  EXPECT_EQ(Get(store_->GetCheckpoint(ids_[1])).damage, "");
}

TEST_F(PackingTest, ReadersAgainstThePacker) {
  PushStates(1, 2);
  std::atomic<bool> done = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!done) {
        for (const ckpt::Checkpoint& c : Get(store_->ListCheckpoints(r_, {}))) {
          const auto reader = Get(store_->OpenReader(c.id, 0));
          for (uint32_t chunk = 0; chunk < reader->manifest().chunks.size(); ++chunk) {
            EXPECT_EQ(Why(reader->Read(chunk)), "OK");
          }
        }
      }
    });
  }
  for (uint64_t step = 3; step <= 14; ++step) PushStates(step, step);
  done = true;
  for (std::thread& reader : readers) reader.join();
  // What was being read when it was judged is looked at again.
  PushStates(15, 15);
  ASSERT_TRUE(IsPacked({15}));
  ExpectWhole({1, 7, 14, 15});
}

TEST_F(PackingTest, NothingIsPackedWhileAPushIsUnderWay) {
  options_.compress = false;
  Reopen();
  PushStates(1, 3);
  const State state = StateOf(4);
  const auto opened = Get(BeginState(4, state));
  Close();
  options_.compress = true;
  Open();
  // An upload that is only open stops nothing; one that a stream holds does.
  ASSERT_TRUE(IsPacked({3}));
  const auto again = Get(BeginState(4, state));
  std::shared_ptr<Upload> stream = Get(store_->FindUpload(again.upload_id));
  Get(store_->DeleteCheckpoints(r_, {ids_[2]}, false));  // there would be something to do
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const int changes = fs_.count(Op::kCreate);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(fs_.count(Op::kCreate), changes);
  EXPECT_EQ(Why(SendState(state, *stream, again.missing_chunks)), "OK");
  stream.reset();
  ids_[4] = Get(store_->CommitShard(again.upload_id)).checkpoint->id;
  ASSERT_TRUE(IsPacked({4}));
  ExpectWhole({1, 3, 4});
}

TEST_F(PackingTest, DamageOfABaseFlagsWhatNeedsItAndAPushHealsAll) {
  PushStates(1, 4);
  ASSERT_TRUE(IsPacked({4}));
  ASSERT_THAT(Links(3)[0], 1);
  ASSERT_THAT(Links(1)[0], 3);
  for (const uint64_t step : {1, 2, 3}) Get(store_->Pin(r_, ids_[step], "kept"));
  const ChunkLocation at = Locations(3).at(StateOf(3).manifest.chunks[0].digest);
  {
    auto file = Get(real_->OpenForUpdate(Layout(options_.data_dir).Pack(at.pack)));
    const std::vector<std::byte> other(16, std::byte{0x5a});
    ASSERT_TRUE(file->Write(at.offset + kRecordHeaderBytes + 5000, other).ok());
  }
  (void)store_->Verify(r_, ids_[1], [](const auto&) { return true; });
  for (const uint64_t step : {1, 2, 3}) {
    EXPECT_NE(Get(store_->GetCheckpoint(ids_[step])).damage, "") << step;
  }
  EXPECT_EQ(Get(store_->GetCheckpoint(ids_[4])).damage, "");
  // The same state again, at another step: the chunk comes anew, for all.
  const State state = StateOf(3);
  const auto opened = Get(BeginState(30, state));
  EXPECT_THAT(opened.missing_chunks, Contains(0));
  EXPECT_EQ(Why(SendState(state, *Get(store_->FindUpload(opened.upload_id)),
                          opened.missing_chunks)),
            "OK");
  Get(store_->CommitShard(opened.upload_id));
  EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
  for (const uint64_t step : {1, 2, 3}) {
    EXPECT_EQ(Get(store_->GetCheckpoint(ids_[step])).damage, "") << step;
  }
  ExpectWhole({1, 2, 3, 4});
}

TEST_F(PackingTest, OffMeansOff) {
  options_.compress = false;
  Reopen();
  PushStates(1, 3);
  ASSERT_TRUE(IsReclaimed());
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  for (const uint64_t step : {1, 2, 3}) EXPECT_THAT(Links(step), Each(-1));
  EXPECT_THAT(PackFiles(), Not(IsEmpty()));
}

}  // namespace
}  // namespace ckptd
