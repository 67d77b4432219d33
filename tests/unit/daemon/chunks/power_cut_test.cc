// The power goes before each of the operations of an upload in turn: whatever
// MakeDurable has said yes to is there afterwards.
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include <fmt/format.h>

#include "daemon/chunks/pack_store.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/simulated_file_system.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/daemon/chunks/written.h"

namespace ckptd {
namespace {

struct Outcome {
  std::vector<Written> appended;
  size_t durable = 0;  // of these, and said so
};

// Two uploads that share a directory of packs, and a third that does not.
std::map<PackId, Outcome> Push(os::FileSystem* fs, const std::string& dir) {
  std::map<PackId, Outcome> outcomes;
  auto store = OpenPackStore(fs, dir);
  if (!store.ok()) return outcomes;
  for (const PackId id : {0x001, 0x101, 0x002}) {
    // With room taken ahead, without, and with less than it takes.
    auto writer = (*store)->NewPack(id, id == 0x001 ? 60000 : id == 0x101 ? 0 : 20000);
    if (!writer.ok()) continue;
    Outcome& outcome = outcomes[id];
    for (uint64_t i = 0; i < 4; ++i) {
      const std::vector<std::byte> bytes = RandomBytes(9000 * i + 100, id * 100 + i);
      const auto location = AppendBytes(**writer, bytes);
      if (!location.ok()) break;
      outcome.appended.push_back({bytes, {DigestOf(bytes), *location}});
      if (i % 2 == 1 && (*writer)->MakeDurable().ok()) {
        outcome.durable = outcome.appended.size();
      }
    }
  }
  return outcomes;
}

void ExpectDurableIsThere(ChunkStore& store, const std::map<PackId, Outcome>& outcomes) {
  for (const auto& [id, outcome] : outcomes) {
    SCOPED_TRACE(fmt::format("pack {:x}", id));
    const auto pack = store.RecoverPack(id);
    if (outcome.durable == 0 && absl::IsNotFound(pack.status())) continue;
    ASSERT_TRUE(pack.ok()) << pack.status();
    ASSERT_GE(pack->chunks.size(), outcome.durable);
    for (size_t i = 0; i < outcome.durable; ++i) ExpectReadable(store, outcome.appended[i]);
    for (const StoredChunk& chunk : pack->chunks) {
      EXPECT_TRUE(ReadBack(store, chunk).ok());
    }
  }
}

TEST(PowerCutTest, WhatWasMadeDurableSurvivesACutAtEachOperation) {
  using Keep = os::FaultyFileSystem::KeepBlock;
  std::mt19937 random(1);
  const struct {
    const char* what;
    Keep kept;
  } kDisks[] = {
      {"nothing unsynced is kept", nullptr},
      {"all of it", [](const std::string&, uint64_t) { return true; }},
      {"some of it, in any order", [&](const std::string&, uint64_t) { return random() % 2 == 0; }},
  };
  const std::unique_ptr<os::FileSystem> real = os::NewRealFileSystem();
  for (const auto& disk : kDisks) {
    bool cut = true;
    for (int at = 1; cut; ++at) {
      SCOPED_TRACE(fmt::format("cut before operation {}; {}", at, disk.what));
      os::TempDir dir;
      os::FaultyFileSystem fs(real.get());
      fs.CutPowerAt(at);
      const std::map<PackId, Outcome> outcomes = Push(&fs, dir.path());
      cut = fs.power_is_off();
      ASSERT_TRUE(fs.PowerCut(disk.kept).ok());

      auto store = OpenPackStore(&fs, dir.path());
      ASSERT_TRUE(store.ok()) << store.status();
      ExpectDurableIsThere(**store, outcomes);
      // What recovery left is durable too.
      ASSERT_TRUE(fs.PowerCut().ok());
      ExpectDurableIsThere(**store, outcomes);
      ASSERT_FALSE(::testing::Test::HasFailure());
      ASSERT_LT(at, 1000);
    }
  }
}

TEST(PowerCutTest, WhatWasGivenBackAndSyncedStaysGivenBack) {
  os::SimulatedDisk::Random random(1);
  for (int round = 0; round < 50; ++round) {
    SCOPED_TRACE(round);
    os::SimulatedDisk disk;
    os::SimulatedFileSystem fs(&disk);
    auto store = OpenPackStore(&fs, "/data");
    ASSERT_TRUE(store.ok()) << store.status();
    auto writer = MustCreate(**store, 1);
    const Written gone = MustAppend(*writer, RandomBytes(50000, 1));
    const Written stays = MustAppend(*writer, RandomBytes(50000, 2));
    ASSERT_TRUE(writer->MakeDurable().ok());
    ASSERT_TRUE(fs.SyncDir("/").ok());
    const uint64_t before = disk.Files().front().allocated;
    ASSERT_TRUE((*store)->Punch(gone.chunk.location).ok());
    ASSERT_TRUE((*store)->SyncPunched(1).ok());
    ASSERT_TRUE((*store)->SyncPunched(99).ok()) << "one that is gone";
    writer.reset();
    store->reset();
    disk.PowerLost();
    disk.PowerOn(random);
    ASSERT_EQ(disk.Files().front().allocated, before - gone.chunk.location.extent);
    auto again = OpenPackStore(&fs, "/data");
    ASSERT_TRUE(again.ok()) << again.status();
    ExpectReadable(**again, stays);
  }
}

}  // namespace
}  // namespace ckptd
