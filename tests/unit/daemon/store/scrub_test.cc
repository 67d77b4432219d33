// The scrub: what it reads, what it finds, and what it makes of that.
#include <atomic>

#include "daemon/catalog/scrub.h"
#include "daemon/chunks/pack_store.h"
#include "tests/unit/daemon/store/scrub_fixture.h"

namespace ckptd {
namespace {

using os::Op;
using Kind = ckpt::Event::Kind;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kExtent = RecordExtent(kChunkBytes);

TEST_F(ScrubTest, APassReadsEverythingAndSaysSo) {
  Attempt("a");
  Push({.step = 1, .seeds = {1, 2, 3}});
  Push({.step = 2, .seeds = {3, 4}});
  Push({.step = 3, .seeds = {5}});
  const ckpt::Scrub before = Get(store_->GetScrub());
  EXPECT_FALSE(before.automatic || before.under_way || before.ended_at || before.next_at);
  clock_.Advance(absl::Hours(1));
  const int reads = fs_.count(Op::kRead);
  const ckpt::Scrub scrub = Scrub();
  EXPECT_EQ(scrub.chunks, 5u);
  EXPECT_EQ(scrub.packs, 3u);
  EXPECT_EQ(scrub.manifests, 3u);
  EXPECT_GT(scrub.bytes, 5 * kExtent);
  EXPECT_EQ(scrub.bytes_total, 5 * kExtent);
  EXPECT_EQ(scrub.damaged_chunks + scrub.damaged_manifests + scrub.damaged_packs, 0u);
  EXPECT_EQ(scrub.started_at, clock_.Now());
  EXPECT_EQ(scrub.ended_at, clock_.Now());
  EXPECT_EQ(fs_.count(Op::kRead) - reads, 5 + 3);
  // What it says of the pass stays until the next.
  Reopen();
  EXPECT_EQ(Get(store_->GetScrub()).chunks, 5u);
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).scrub->ended_at, clock_.Now());
}

TEST_F(ScrubTest, EachRegionOfAPackIsRead) {
  Attempt("a");
  const uint64_t id = Push({.step = 1, .seeds = {1, 2}}).id;
  const ChunkLocation at = LocationOf(id, 2);
  const uint64_t payload = at.offset + kRecordHeaderBytes;
  struct Case {
    const char* what;
    uint64_t at;
    uint64_t chunks, packs;  // damaged
  };
  for (const Case& c : std::vector<Case>{
           {"pack's magic", 0, 0, 1},
           {"pack's version", 8, 0, 1},
           {"pack's id", 16, 0, 1},
           {"pack's digest", 55, 0, 1},
           {"pack header's zeros", 56, 0, 0},
           {"pack header's last zero", kPackHeaderBytes - 1, 0, 0},
           {"record's magic", at.offset, 1, 0},
           {"record's type", at.offset + 4, 1, 0},
           {"record's length", at.offset + 8, 1, 0},
           {"record's place", at.offset + 12, 1, 0},
           {"record's digest", at.offset + 16, 1, 0},
           {"record's pack", at.offset + 48, 1, 0},
           {"record's check", at.offset + 63, 1, 0},
           {"payload's first byte", payload, 1, 0},
           {"payload's middle", payload + kChunkBytes / 2, 1, 0},
           {"payload's last byte", payload + kChunkBytes - 1, 1, 0},
           {"padding's first byte", payload + kChunkBytes, 0, 0},
           {"padding's last byte", at.offset + at.extent - 1, 0, 0},
       }) {
    SCOPED_TRACE(c.what);
    Flip(at.pack, c.at);
    const ckpt::Scrub found = Scrub();
    EXPECT_EQ(found.damaged_chunks, c.chunks);
    EXPECT_EQ(found.damaged_packs, c.packs);
    EXPECT_EQ(found.quarantined_chunks, c.chunks);
    EXPECT_EQ(DamageOf(id) != "", c.chunks > 0);
    // It is right again, as after a bad cable was changed.
    Flip(at.pack, c.at);
    const ckpt::Scrub healed = Scrub();
    EXPECT_EQ(healed.damaged_chunks + healed.damaged_packs + healed.quarantined_chunks, 0u);
    EXPECT_EQ(healed.healed_chunks, c.chunks);
    EXPECT_EQ(DamageOf(id), "");
  }
}

TEST_F(ScrubTest, DamageIsSaidOnceAndStaysSaid) {
  Attempt("a");
  const uint64_t id = Push({.step = 1, .seeds = {1, 2}}).id;
  const ChunkLocation at = LocationOf(id, 1);
  Flip(at.pack, at.offset + kRecordHeaderBytes);
  for (int pass = 0; pass < 3; ++pass) {
    EXPECT_EQ(Scrub().damaged_chunks, 1u);
    EXPECT_THAT(EventsOf(id), ElementsAre(Kind::kCommitted, Kind::kDamaged));
  }
  EXPECT_EQ(store_->metrics().damaged_chunks.value(), 1u);
  EXPECT_EQ(store_->metrics().damaged_checkpoints.value(), 1u);
  EXPECT_THAT(DamageOf(id), HasSubstr("its bytes have another digest"));
  EXPECT_EQ(Get(store_->GetStats(std::nullopt)).damaged_checkpoints, 1u);
  EXPECT_EQ(Get(store_->GetStats(r_)).damaged_checkpoints, 1u);
  // Its space stays taken.
  EXPECT_GE(DiskBytes(), 2 * kExtent);
  EXPECT_EQ(fs_.count(Op::kPunch), 0);
  Flip(at.pack, at.offset + kRecordHeaderBytes);
  Scrub();
  EXPECT_THAT(EventsOf(id), ElementsAre(Kind::kCommitted, Kind::kDamaged, Kind::kHealed));
  EXPECT_THAT(History(id)[0], AllOf(HasSubstr("read what was damaged again"),
                                    HasSubstr("its bytes have another digest")));
}

TEST_F(ScrubTest, APackCutAnywhereHasLostWhatLiesBehind) {
  Attempt("a");
  const uint64_t id = Push({.step = 1, .seeds = {1, 2}}).id;
  std::vector<ChunkLocation> at = {LocationOf(id, 1), LocationOf(id, 2)};
  if (at[0].offset > at[1].offset) std::swap(at[0], at[1]);
  const std::string path = PathOf(at[0].pack);
  const std::string whole = Get(real_->ReadFile(path));
  struct Case {
    uint64_t size, chunks, packs;
  };
  for (const Case& c : std::vector<Case>{
           {0, 2, 1},
           {100, 2, 1},
           {kPackHeaderBytes, 2, 0},
           {at[0].offset + 10, 2, 0},
           {at[0].offset + kRecordHeaderBytes, 2, 0},
           {at[1].offset, 1, 0},
           {at[1].offset + kRecordHeaderBytes + 5000, 1, 0},
           {at[1].offset + kRecordHeaderBytes + kChunkBytes - 1, 1, 0},
           {at[1].offset + kRecordHeaderBytes + kChunkBytes, 0, 0},
       }) {
    SCOPED_TRACE(c.size);
    std::filesystem::resize_file(path, c.size);
    const ckpt::Scrub found = Scrub();
    EXPECT_EQ(found.damaged_chunks, c.chunks);
    EXPECT_EQ(found.damaged_packs, c.packs);
    EXPECT_EQ(found.unreadable_chunks, 0u);
    std::ofstream(path, std::ios::binary) << whole;
    EXPECT_EQ(Scrub().healed_chunks, c.chunks);
    EXPECT_EQ(DamageOf(id), "");
  }
}

TEST_F(ScrubTest, APackThatIsGoneIsDamageButADiskThatIsGoneIsNot) {
  Attempt("a");
  const uint64_t id = Push({.step = 1, .seeds = {1, 2, 3}}).id;
  const uint64_t other = Push({.step = 2, .seeds = {4}}).id;
  const std::string path = PathOf(LocationOf(id, 1).pack);
  std::filesystem::rename(path, dir_ / "pack");
  EXPECT_EQ(Scrub().damaged_chunks, 3u);
  EXPECT_THAT(DamageOf(id), HasSubstr("the pack is gone"));
  EXPECT_EQ(DamageOf(other), "");
  std::filesystem::rename(dir_ / "pack", path);
  EXPECT_EQ(Scrub().healed_chunks, 3u);

  const std::string directory = os::ParentDir(path);
  std::filesystem::rename(directory, dir_ / "XX");
  const ckpt::Scrub without = Scrub();
  EXPECT_EQ(without.damaged_chunks, 0u);
  EXPECT_EQ(without.unreadable_chunks, 3u);
  EXPECT_EQ(DamageOf(id), "");
  std::filesystem::rename(dir_ / "XX", directory);
  EXPECT_EQ(Scrub().unreadable_chunks, 0u);
}

// Both reads of the only chunk fail; the first is that of the pack's header.
void FailToRead(os::FaultyFileSystem& fs) {
  fs.FailNth(Op::kRead, 2);
  fs.FailNth(Op::kRead, 3);
}

TEST_F(ScrubTest, AnIoErrorIsDamageOnlyWhenItStays) {
  Attempt("a");
  const uint64_t id = Push({.step = 1, .seeds = {1}}).id;
  // One that passes is not even worth a word.
  fs_.FailNth(Op::kRead, 2);
  EXPECT_EQ(Scrub().unreadable_chunks, 0u);
  for (uint32_t pass = 1; pass < kUnreadableScrubs; ++pass) {
    FailToRead(fs_);
    EXPECT_EQ(Scrub().unreadable_chunks, 1u);
    EXPECT_EQ(DamageOf(id), "") << pass;
  }
  // In a row, that is.
  EXPECT_EQ(Scrub().unreadable_chunks, 0u);
  for (uint32_t pass = 1; pass <= kUnreadableScrubs; ++pass) {
    EXPECT_EQ(DamageOf(id), "") << pass;
    FailToRead(fs_);
    EXPECT_EQ(Scrub().unreadable_chunks, 1u);
  }
  EXPECT_THAT(DamageOf(id), HasSubstr("3 scrubs in a row could not read chunk"));
  EXPECT_EQ(Scrub().healed_chunks, 1u);
  EXPECT_EQ(DamageOf(id), "");
}

TEST_F(ScrubTest, WhereNothingCanBeReadTheDiskIsAtFaultAndThePassStands) {
  Attempt("a");
  std::vector<int> seeds(80);
  for (int i = 0; i < 80; ++i) seeds[i] = i + 1;
  const uint64_t id = Push({.step = 1, .seeds = seeds}).id;
  const std::string directory = os::ParentDir(PathOf(LocationOf(id, 1).pack));
  std::filesystem::rename(directory, dir_ / "XX");
  Get(store_->StartScrub());
  const int opens = fs_.count(Op::kOpen);
  EXPECT_TRUE(Eventually([&] { return fs_.count(Op::kOpen) > opens + 500; }));  // tried again
  const ckpt::Scrub stands = Get(store_->GetScrub());
  EXPECT_TRUE(stands.under_way);
  EXPECT_EQ(stands.unreadable_chunks, 0u);
  std::filesystem::rename(dir_ / "XX", directory);
  EXPECT_TRUE(ScrubHasEnded());
  EXPECT_EQ(Get(store_->GetScrub()).chunks, 80u);
  EXPECT_EQ(DamageOf(id), "");
}

TEST_F(ScrubTest, AManifestThatIsNotTheOneThatWasCommittedIsFound) {
  Attempt("a");
  const uint64_t first = Push({.step = 1, .seeds = {1}}).id;
  const uint64_t second = Push({.step = 2, .seeds = {2}}).id;
  FlipManifest(second);
  EXPECT_EQ(Scrub().damaged_manifests, 1u);
  EXPECT_EQ(DamageOf(first), "");
  EXPECT_THAT(DamageOf(second), HasSubstr("the manifest of shard"));
  EXPECT_THAT(EventsOf(second), ElementsAre(Kind::kCommitted, Kind::kDamaged));
  EXPECT_EQ(Scrub().damaged_manifests, 1u);
  FlipManifest(second);
  EXPECT_EQ(Scrub().damaged_manifests, 0u);
  EXPECT_EQ(DamageOf(second), "");
  EXPECT_THAT(EventsOf(second), ElementsAre(Kind::kCommitted, Kind::kDamaged, Kind::kHealed));
}

TEST_F(ScrubTest, PassesBeginWithTheTime) {
  options_.scrub = true;
  options_.scrub_interval = absl::Hours(7 * 24);
  Attempt("a");
  Push({.step = 1});
  Reopen();
  const auto ended = [&](absl::Time when) {
    return Eventually([&] { return Get(store_->GetScrub()).ended_at == when; });
  };
  const absl::Time begin = clock_.Now();
  EXPECT_TRUE(ended(begin));
  EXPECT_EQ(Get(store_->GetScrub()).next_at, begin + options_.scrub_interval);
  clock_.Advance(options_.scrub_interval - absl::Seconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_EQ(Get(store_->GetScrub()).ended_at, begin);
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(ended(begin + options_.scrub_interval));
  // A clock that was set back does not put it off.
  clock_.Set(begin - absl::Hours(1));
  EXPECT_TRUE(ended(clock_.Now()));
}

TEST_F(ScrubTest, ARestartGoesOnWhereThePassWas) {
  Attempt("a");
  std::vector<int> seeds(60);
  for (int i = 0; i < 60; ++i) seeds[i] = i + 1;
  const uint64_t id = Push({.step = 1, .seeds = seeds}).id;
  const ChunkLocation bad = LocationOf(id, 1);
  options_.scrub_rate = 60 * kExtent * 2;  // half a second for all
  Reopen();
  const int before = fs_.count(Op::kRead);
  Get(store_->StartScrub());
  ASSERT_TRUE(Eventually([&] { return fs_.count(Op::kRead) > before + 20; }));
  // Read already: damage that comes behind the place is the next pass's to find.
  Flip(bad.pack, bad.offset + kRecordHeaderBytes);
  Reopen();
  EXPECT_TRUE(Get(store_->GetScrub()).under_way);
  EXPECT_GT(Get(store_->GetScrub()).chunks, 15u);
  // What was asked for goes on by itself.
  EXPECT_TRUE(ScrubHasEnded());
  const ckpt::Scrub scrub = Get(store_->GetScrub());
  EXPECT_EQ(scrub.chunks, 60u);
  EXPECT_EQ(scrub.manifests, 1u);
  EXPECT_EQ(fs_.count(Op::kRead) - before, 1 + 60 + 1) << "the start has read one file";
  EXPECT_EQ(scrub.damaged_chunks, 0u);
  EXPECT_EQ(Scrub().damaged_chunks, 1u);
}

TEST_F(ScrubTest, AKillLosesLittleOfAPass) {
  Attempt("a");
  std::vector<int> seeds(60);
  for (int i = 0; i < 60; ++i) seeds[i] = i + 1;
  Push({.step = 1, .seeds = seeds});
  Close();
  auto catalog = Get(catalog::Catalog::Open(Layout(options_.data_dir).Catalog()));
  auto chunks = Get(OpenPackStore(&fs_, options_.data_dir));
  const auto row = [&] { return Get(catalog::GetScrub(*Get(catalog->BeginRead()))); };
  int steps = 0;
  catalog::ScrubRow at_kill;
  Metrics metrics;
  Scrubbing::Parts parts;
  parts.metrics = &metrics;
  parts.catalog = catalog.get();
  parts.chunks = chunks.get();
  parts.save_bytes = 1;
  parts.now = [&] { return clock_.Now(); };
  parts.judge = [](int64_t) {};
  parts.run_low = [](const std::function<void()>& check) { check(); };
  parts.go_on = [&](uint64_t) {
    if (++steps == 40) at_kill = row();
    return true;
  };
  Scrubbing scrubbing(parts);
  ASSERT_TRUE(scrubbing.Run().ok());
  EXPECT_EQ(row().chunks, 60u);
  // What would be there now had it been killed at its 40th step.
  EXPECT_TRUE(at_kill.under_way);
  EXPECT_GT(at_kill.chunks, 20u);
  auto txn = Get(catalog->BeginWrite());
  ASSERT_TRUE(catalog::SetScrub(*txn, at_kill).ok());
  ASSERT_TRUE(txn->Commit().ok());
  ASSERT_TRUE(scrubbing.Run().ok());
  EXPECT_EQ(row().chunks, 60u);
  EXPECT_EQ(row().manifests, 1u);
  EXPECT_FALSE(row().under_way);
}

TEST_F(ScrubTest, APassThatNobodyAskedForStandsWhileTheScrubIsOff) {
  Attempt("a");
  std::vector<int> seeds(60);
  for (int i = 0; i < 60; ++i) seeds[i] = i + 1;
  Push({.step = 1, .seeds = seeds});
  options_.scrub = true;
  options_.scrub_rate = 60 * kExtent * 2;
  Reopen();
  ASSERT_TRUE(Eventually([&] { return fs_.count(Op::kRead) > 5; }));
  options_.scrub = false;
  Reopen();
  const int reads = fs_.count(Op::kRead);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(fs_.count(Op::kRead), reads);
  EXPECT_TRUE(Get(store_->GetScrub()).under_way);
  Get(store_->StartScrub());
  EXPECT_TRUE(ScrubHasEnded());
  EXPECT_EQ(Get(store_->GetScrub()).chunks, 60u);
}

TEST_F(ScrubTest, ItStandsWhileAPushOrAFetchIsUnderWay) {
  Attempt("a");
  const uint64_t id = Push({.step = 1, .seeds = {1, 2, 3}}).id;
  const auto stands = [&, reads = fs_.count(Op::kRead)] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return fs_.count(Op::kRead) == reads;
  };
  auto reader = Get(store_->OpenReader(id, 0));
  Get(store_->StartScrub());
  EXPECT_TRUE(stands());
  const Shard next{.step = 2, .seeds = {4}};
  const auto opened = Get(Begin(next));
  std::shared_ptr<Upload> stream = Get(store_->FindUpload(opened.upload_id));
  reader.reset();
  EXPECT_TRUE(stands());
  ASSERT_TRUE(Send(next, opened).ok());
  stream.reset();
  Get(store_->CommitShard(opened.upload_id));
  EXPECT_TRUE(ScrubHasEnded());
  EXPECT_EQ(Get(store_->GetScrub()).chunks, 3u) << "what came after it had begun";
}

TEST_F(ScrubTest, WhatIsRemovedWhileItIsReadIsNoDamage) {
  Attempt("a", 1, r_, KeepLast(1));
  std::atomic<bool> done = false;
  std::thread pusher([&] {
    for (uint64_t step = 1; step <= 60; ++step) {
      const int first = static_cast<int>(step) * 5;
      Push({.step = step, .seeds = {first, first + 1, first + 2, first + 5}});
      // It gives way to pushes: now it reads, while the janitor removes.
      std::this_thread::sleep_for(std::chrono::milliseconds(step % 30));
    }
    done = true;
  });
  uint64_t chunks = 0;
  while (!done) {
    const ckpt::Scrub scrub = Scrub();
    EXPECT_EQ(scrub.damaged_chunks + scrub.damaged_packs + scrub.damaged_manifests +
                  scrub.unreadable_chunks + scrub.quarantined_chunks,
              0u);
    chunks += scrub.chunks;
  }
  pusher.join();
  EXPECT_GT(chunks, 0u);
  for (const ckpt::Event& event : Get(store_->ListEvents(r_, 0, 0, 1000))) {
    EXPECT_NE(event.kind, Kind::kDamaged) << event.text;
  }
}

}  // namespace
}  // namespace ckptd
