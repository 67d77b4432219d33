#include "tests/testing/simulated_disk.h"

#include <cerrno>
#include <set>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/simulated_file_system.h"

namespace ckptd::os {
namespace {

using ::testing::ElementsAre;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

class SimulatedDiskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(fs_.CreateDirs("/d").ok());
    Sync("/");
  }
  void Sync(const std::string& dir) { ASSERT_TRUE(fs_.SyncDir(dir).ok()); }

  void Write(const std::string& path, std::string_view text, uint64_t at = 0, bool sync = false) {
    std::unique_ptr<SimulatedDisk::OpenFile> file;
    ASSERT_EQ(disk_.Open(path, {.create = true}, &file), 0);
    ASSERT_EQ(file->Write(at, Bytes(text)), 0);
    ASSERT_EQ(sync ? file->Sync() : 0, 0);
  }
  std::string Read(const std::string& path) { return fs_.ReadFile(path).value_or("none"); }
  void Cut() {
    disk_.PowerLost();
    disk_.PowerOn(random_);
  }
  // What `read` gives after each of many cuts of what `prepare` did.
  std::set<std::string> AfterCuts(const std::function<void()>& prepare,
                                  const std::function<std::string()>& read) {
    const auto before = disk_.Save();
    std::set<std::string> seen;
    for (int i = 0; i < 200; ++i) {
      disk_.Load(*before);
      prepare();
      Cut();
      seen.insert(read());
    }
    return seen;
  }

  SimulatedDisk::Random random_{1};
  SimulatedDisk disk_;
  SimulatedFileSystem fs_{&disk_};
};

TEST_F(SimulatedDiskTest, WhatWasSyncedLasts) {
  const auto seen = AfterCuts(
      [&] {
        Write("/d/f", "synced", 0, /*sync=*/true);
        Sync("/d");
      },
      [&] { return Read("/d/f"); });
  EXPECT_THAT(seen, ElementsAre("synced"));
}

TEST_F(SimulatedDiskTest, ANameIsThereOnlyOnceItsDirectoryWasSynced) {
  const auto seen = AfterCuts([&] { Write("/d/f", "synced", 0, /*sync=*/true); },
                              [&] { return Read("/d/f"); });
  EXPECT_THAT(seen, ElementsAre("none", "synced"));
}

TEST_F(SimulatedDiskTest, ADirectoryThatIsLostTakesItsFilesAlong) {
  const auto seen = AfterCuts(
      [&] {
        ASSERT_TRUE(fs_.CreateDirs("/d/e").ok());
        Write("/d/e/f", "x", 0, /*sync=*/true);
        Sync("/d/e");
      },
      [&] { return Read("/d/e/f"); });
  EXPECT_THAT(seen, ElementsAre("none", "x"));
}

TEST_F(SimulatedDiskTest, ARemovalMayBeUndone) {
  Write("/d/f", "x", 0, /*sync=*/true);
  Sync("/d");
  const auto seen = AfterCuts([&] { ASSERT_TRUE(fs_.Remove("/d/f").ok()); },
                              [&] { return Read("/d/f"); });
  EXPECT_THAT(seen, ElementsAre("none", "x"));
}

TEST_F(SimulatedDiskTest, AMoveIsWholeOrNotAtAll) {
  Write("/d/old", "old", 0, /*sync=*/true);
  Write("/d/new", "new", 0, /*sync=*/true);
  Sync("/d");
  const auto seen = AfterCuts([&] { ASSERT_EQ(disk_.Rename("/d/new", "/d/old"), 0); },
                              [&] { return Read("/d/old") + " " + Read("/d/new"); });
  EXPECT_THAT(seen, ElementsAre("new none", "old new"));
}

TEST_F(SimulatedDiskTest, ReplaceFileLastsWhenItReturns) {
  Write("/d/f", "old", 0, /*sync=*/true);
  Sync("/d");
  const auto seen = AfterCuts([&] { ASSERT_TRUE(fs_.ReplaceFile("/d/f", "new").ok()); },
                              [&] { return Read("/d/f"); });
  EXPECT_THAT(seen, ElementsAre("new"));
}

TEST_F(SimulatedDiskTest, SectorsAreLostOneByOne) {
  const std::string zeros(2 * SimulatedDisk::kSectorBytes, '0');
  const std::string ones(2 * SimulatedDisk::kSectorBytes, '1');
  Write("/d/f", zeros, 0, /*sync=*/true);
  Sync("/d");
  const auto seen = AfterCuts([&] { Write("/d/f", ones); },
                              [&] {
                                const std::string text = Read("/d/f");
                                return std::string{text[0], text[511], text[512], text[1023]};
                              });
  EXPECT_THAT(seen, ElementsAre("0000", "0011", "1100", "1111"));
}

TEST_F(SimulatedDiskTest, AHoleLastsOnceSynced) {
  const std::string block(SimulatedDisk::kBlockBytes, 'x');
  Write("/d/f", block, 0, /*sync=*/true);
  Sync("/d");
  const auto punch = [&](bool sync) {
    std::unique_ptr<SimulatedDisk::OpenFile> file;
    ASSERT_EQ(disk_.Open("/d/f", {}, &file), 0);
    ASSERT_EQ(file->Punch(0, SimulatedDisk::kBlockBytes), 0);
    ASSERT_EQ(sync ? file->Sync() : 0, 0);
  };
  const auto read = [&] { return std::to_string(*fs_.AllocatedBytes("/d/f")); };
  EXPECT_THAT(AfterCuts([&] { punch(false); }, read), ElementsAre("0", "4096"));
  EXPECT_THAT(AfterCuts([&] { punch(true); }, read), ElementsAre("0"));
}

TEST_F(SimulatedDiskTest, ASyncAfterOneThatFailedMakesNothingOfItLast) {
  Write("/d/f", "old", 0, /*sync=*/true);
  Sync("/d");
  const auto seen = AfterCuts(
      [&] {
        std::unique_ptr<SimulatedDisk::OpenFile> file;
        ASSERT_EQ(disk_.Open("/d/f", {}, &file), 0);
        ASSERT_EQ(file->Write(0, Bytes("new")), 0);
        disk_.FailNth(1, EIO);
        ASSERT_EQ(file->Sync(), EIO);
        ASSERT_EQ(file->Sync(), 0);
      },
      [&] { return Read("/d/f"); });
  EXPECT_THAT(seen, ElementsAre("new", "old"));
}

TEST_F(SimulatedDiskTest, BlocksAreFreeOnceWhateverBecomesOfARemovedFileThatIsOpen) {
  const uint64_t before = disk_.FreeBytes();
  Write("/d/f", "old", 0, /*sync=*/true);
  std::unique_ptr<SimulatedDisk::OpenFile> file;
  ASSERT_EQ(disk_.Open("/d/f", {}, &file), 0);
  EXPECT_LT(disk_.FreeBytes(), before);
  ASSERT_EQ(disk_.Remove("/d/f"), 0);
  EXPECT_EQ(disk_.FreeBytes(), before);
  ASSERT_EQ(file->Truncate(0), 0);
  EXPECT_EQ(disk_.FreeBytes(), before);
  ASSERT_EQ(file->Write(0, Bytes("new")), 0);
  EXPECT_EQ(disk_.FreeBytes(), before);
}

TEST_F(SimulatedDiskTest, WhatHasNotFailedByThenDoesNot) {
  disk_.FailNth(2, EIO);
  ASSERT_EQ(disk_.SyncDir("/d"), 0);
  disk_.FailNoMore();
  EXPECT_EQ(disk_.SyncDir("/d"), 0);
}

TEST_F(SimulatedDiskTest, CallsWaitOncePowerIsGoneAndThenFail) {
  Write("/d/f", "old", 0, /*sync=*/true);
  Sync("/d");
  std::unique_ptr<SimulatedDisk::OpenFile> file;
  ASSERT_EQ(disk_.Open("/d/f", {}, &file), 0);
  disk_.CutPowerAt(2);
  ASSERT_EQ(file->Write(0, Bytes("new")), 0);
  int error = 0;
  std::thread waits([&] { error = file->Sync(); });
  EXPECT_TRUE(disk_.AwaitCut(absl::InfiniteDuration()));
  disk_.PowerLost();
  waits.join();
  EXPECT_EQ(error, EIO);
  disk_.PowerOn(random_);
  EXPECT_EQ(file->Sync(), EIO) << "a file of before the cut";
  Write("/d/f", "next", 0, /*sync=*/true);
  EXPECT_EQ(Read("/d/f"), "next");
}

TEST_F(SimulatedDiskTest, IsFullAtItsCapacity) {
  disk_.SetCapacity(2 * SimulatedDisk::kBlockBytes);
  Write("/d/f", std::string(2 * SimulatedDisk::kBlockBytes, 'x'));
  std::unique_ptr<SimulatedDisk::OpenFile> file;
  ASSERT_EQ(disk_.Open("/d/f", {}, &file), 0);
  EXPECT_EQ(disk_.FreeBytes(), 0u);
  EXPECT_EQ(file->Write(2 * SimulatedDisk::kBlockBytes, Bytes("y")), ENOSPC);
  EXPECT_EQ(file->Write(0, Bytes("y")), 0) << "in place";
  ASSERT_TRUE(fs_.Remove("/d/f").ok());
  EXPECT_EQ(disk_.FreeBytes(), 2 * SimulatedDisk::kBlockBytes);
}

TEST_F(SimulatedDiskTest, RotIsSeenAtOnceAndLasts) {
  Write("/d/f", "abc", 0, /*sync=*/true);
  Sync("/d");
  disk_.FlipBit("/d/f", 8 + 0);
  EXPECT_EQ(Read("/d/f"), "acc");
  Cut();
  EXPECT_EQ(Read("/d/f"), "acc");
  disk_.CutOff("/d/f", 1);
  EXPECT_EQ(Read("/d/f"), "a");
}

}  // namespace
}  // namespace ckptd::os
