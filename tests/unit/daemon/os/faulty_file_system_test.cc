// The double has to be right before anything that is tested with it is.
#include "tests/testing/faulty_file_system.h"

#include <cstdlib>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "tests/testing/temp_dir.h"

namespace ckptd::os {
namespace {

class FaultyFileSystemTest : public ::testing::Test {
 protected:
  FaultyFileSystemTest() {
    EXPECT_TRUE(fs_.CreateDirs(dir_ / "d").ok());
    EXPECT_TRUE(fs_.SyncDir(dir_.path()).ok());
  }

  std::unique_ptr<File> Create(const std::string& name) {
    auto file = fs_.CreateForAppend(dir_ / name);
    EXPECT_TRUE(file.ok()) << file.status();
    return *std::move(file);
  }

  absl::Status WriteBlock(File& file, uint64_t block, char fill) {
    alignas(kBlockBytes) static char bytes[kBlockBytes];
    std::fill(std::begin(bytes), std::end(bytes), fill);
    return file.Write(block * kBlockBytes, std::as_bytes(std::span(bytes)));
  }

  // The first letter of each block.
  std::string Letters(const std::string& name) {
    const auto contents = fs_.ReadFile(dir_ / name);
    if (!contents.ok()) return "none";
    std::string letters;
    for (size_t at = 0; at < contents->size(); at += kBlockBytes) letters += (*contents)[at];
    return letters;
  }

  TempDir dir_;
  std::unique_ptr<FileSystem> real_ = NewRealFileSystem();
  FaultyFileSystem fs_{real_.get()};
};

TEST_F(FaultyFileSystemTest, TheNthOperationFailsAndOnlyThat) {
  const auto file = Create("d/f");
  fs_.FailNth(Op::kWrite, 2, ENOSPC);
  EXPECT_TRUE(WriteBlock(*file, 0, 'a').ok());
  EXPECT_EQ(ckpt::ReasonOf(WriteBlock(*file, 1, 'b')), ckpt::reason::kNoSpace);
  EXPECT_TRUE(WriteBlock(*file, 1, 'c').ok());
  EXPECT_EQ(Letters("d/f"), "ac");
  EXPECT_EQ(fs_.count(Op::kWrite), 3);
}

TEST_F(FaultyFileSystemTest, WhatIsSparedNeitherCountsNorFails) {
  const auto spared = Create("d/spared"), other = Create("d/f");
  fs_.Spare("/spared");
  fs_.FailNth(Op::kWrite, 1, ENOSPC);
  EXPECT_TRUE(WriteBlock(*spared, 0, 'a').ok());
  EXPECT_FALSE(WriteBlock(*other, 0, 'b').ok());
}

TEST_F(FaultyFileSystemTest, ARenamedFileKeepsWhatWasNotSynced) {
  const auto file = Create("d/f");
  EXPECT_TRUE(fs_.SyncDir(dir_ / "d").ok());
  EXPECT_TRUE(WriteBlock(*file, 0, 'a').ok());
  EXPECT_TRUE(fs_.Rename(dir_ / "d/f", dir_ / "d/g").ok());
  EXPECT_TRUE(fs_.PowerCut().ok());
  EXPECT_EQ(Letters("d/f"), "none");
  EXPECT_EQ(Letters("d/g"), "");
}

TEST_F(FaultyFileSystemTest, AShortenedWriteLeavesItsBeginning) {
  const auto file = Create("d/f");
  fs_.ShortenNthWrite(1, 1000);
  EXPECT_FALSE(WriteBlock(*file, 0, 'a').ok());
  EXPECT_EQ(file->Size().value_or(0), 1000u);
}

TEST_F(FaultyFileSystemTest, APowerCutTakesBackWhatWasNotSynced) {
  const auto file = Create("d/f");
  ASSERT_TRUE(WriteBlock(*file, 0, 'a').ok());
  ASSERT_TRUE(WriteBlock(*file, 1, 'b').ok());
  ASSERT_TRUE(file->SyncData().ok());
  ASSERT_TRUE(fs_.SyncDir(dir_ / "d").ok());
  ASSERT_TRUE(WriteBlock(*file, 1, 'B').ok());
  ASSERT_TRUE(WriteBlock(*file, 2, 'c').ok());
  EXPECT_EQ(Letters("d/f"), "aBc");
  ASSERT_TRUE(fs_.PowerCut().ok());
  EXPECT_EQ(Letters("d/f"), "ab");
  EXPECT_FALSE(WriteBlock(*file, 0, 'x').ok());  // that file was open before
}

TEST_F(FaultyFileSystemTest, APowerCutKeepsTheBlocksItIsTold) {
  const auto file = Create("d/f");
  ASSERT_TRUE(fs_.SyncDir(dir_ / "d").ok());
  for (const uint64_t block : {0, 1, 2, 3}) {
    ASSERT_TRUE(WriteBlock(*file, block, static_cast<char>('a' + block)).ok());
  }
  ASSERT_TRUE(fs_.PowerCut([](const std::string&, uint64_t block) { return block == 2; }).ok());
  EXPECT_EQ(Letters("d/f"), std::string("\0\0c", 3));
}

TEST_F(FaultyFileSystemTest, ANameIsDurableOnceItsDirectoryIs) {
  Create("d/unsynced");
  const auto synced = fs_.CreateDirs(dir_ / "e");
  ASSERT_TRUE(synced.ok());
  Create("e/f");
  ASSERT_TRUE(fs_.SyncDir(dir_ / "e").ok());  // but not the name of e itself
  ASSERT_TRUE(fs_.PowerCut().ok());
  EXPECT_EQ(Letters("d/unsynced"), "none");
  EXPECT_EQ(Letters("e/f"), "none");
}

TEST_F(FaultyFileSystemTest, WhatAFailedSyncLostStaysLost) {
  const auto file = Create("d/f");
  ASSERT_TRUE(fs_.SyncDir(dir_ / "d").ok());
  ASSERT_TRUE(WriteBlock(*file, 0, 'a').ok());
  fs_.FailNth(Op::kSyncData, 1);
  EXPECT_FALSE(file->SyncData().ok());
  EXPECT_TRUE(file->SyncData().ok());
  EXPECT_EQ(Letters("d/f"), "a");  // from memory
  file->DropCache();
  EXPECT_EQ(Letters("d/f"), "");
}

TEST_F(FaultyFileSystemTest, NothingWorksWhileThePowerIsOff) {
  const auto file = Create("d/f");
  fs_.CutPowerAt(2);
  EXPECT_TRUE(WriteBlock(*file, 0, 'a').ok());
  EXPECT_FALSE(fs_.power_is_off());
  EXPECT_FALSE(file->SyncData().ok());
  EXPECT_TRUE(fs_.power_is_off());
  EXPECT_FALSE(fs_.OpenForRead(dir_ / "d/f").ok());
  EXPECT_FALSE(fs_.Remove(dir_ / "d/f").ok());
  ASSERT_TRUE(fs_.PowerCut().ok());
  EXPECT_FALSE(fs_.power_is_off());
  EXPECT_EQ(Letters("d/f"), "none");
}

}  // namespace
}  // namespace ckptd::os
