#include "client/ckptctl/files/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tests/testing/temp_dir.h"

namespace ckpt::ctl {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class AtomicFileTest : public ::testing::Test {
 protected:
  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& item : fs::directory_iterator(folder_)) {
      names.insert(item.path().filename().string());
    }
    return names;
  }
  static std::string Content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static std::span<const std::byte> Bytes(std::string_view text) {
    return std::as_bytes(std::span(text));
  }
  static void Put(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

  ckptd::os::TempDir temporary_;
  fs::path folder_ = temporary_.path();
};

TEST_F(AtomicFileTest, AppearsOnlyWithCommitAndHasItsSize) {
  auto file = AtomicFile::Create(folder_ / "x.pt", 100, false);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->WriteAt(3, Bytes("def")).ok());
  ASSERT_TRUE((*file)->WriteAt(0, Bytes("abc")).ok());
  EXPECT_FALSE(fs::exists(folder_ / "x.pt"));
  ASSERT_TRUE((*file)->Commit(6).ok());
  EXPECT_EQ(Content(folder_ / "x.pt"), "abcdef");
  file->reset();
  EXPECT_THAT(Names(), UnorderedElementsAre("x.pt"));
}

TEST_F(AtomicFileTest, IsReadByWhoMayOnly) {
  auto file = AtomicFile::Create(folder_ / "secret", 0, false, 0600);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Commit(0).ok());
  EXPECT_EQ(fs::status(folder_ / "secret").permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(AtomicFileTest, LeavesNothingWithoutCommit) {
  {
    auto file = AtomicFile::Create(folder_ / "x.pt", 1 << 20, false);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE((*file)->WriteAt(0, Bytes("abc")).ok());
  }
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(AtomicFileTest, ReplacesOnlyWhenAsked) {
  Put(folder_ / "x.pt", "old");
  const auto refused = AtomicFile::Create(folder_ / "x.pt", 0, false);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("--force"));
  auto file = AtomicFile::Create(folder_ / "x.pt", 0, true);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->WriteAt(0, Bytes("new")).ok());
  EXPECT_EQ(Content(folder_ / "x.pt"), "old");
  ASSERT_TRUE((*file)->Commit(3).ok());
  EXPECT_EQ(Content(folder_ / "x.pt"), "new");
}

TEST_F(AtomicFileTest, AFileThatCameMeanwhileStays) {
  auto file = AtomicFile::Create(folder_ / "x.pt", 0, false);
  ASSERT_TRUE(file.ok());
  Put(folder_ / "x.pt", "theirs");
  EXPECT_EQ((*file)->Commit(0).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Content(folder_ / "x.pt"), "theirs");
}

TEST_F(AtomicFileTest, SaysWhatIsWrongWithThePath) {
  EXPECT_EQ(AtomicFile::Create(folder_ / "no/x.pt", 0, false).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(AtomicFile::Create(folder_, 0, true).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(AtomicFileTest, ADirectoryAppearsWhole) {
  {
    auto directory = AtomicDirectory::Create(folder_ / "out", false);
    ASSERT_TRUE(directory.ok()) << directory.status();
    ASSERT_TRUE((*directory)->Open("a", 3).ok());
    ASSERT_TRUE((*directory)->WriteAt(0, Bytes("abc")).ok());
    ASSERT_TRUE((*directory)->Open("b", 0).ok());
    EXPECT_FALSE(fs::exists(folder_ / "out"));
    ASSERT_TRUE((*directory)->Commit().ok());
  }
  EXPECT_THAT(Names(), UnorderedElementsAre("out"));
  EXPECT_EQ(Content(folder_ / "out/a"), "abc");
  EXPECT_EQ(Content(folder_ / "out/b"), "");
}

TEST_F(AtomicFileTest, ADirectoryLeavesNothingWithoutCommit) {
  {
    auto directory = AtomicDirectory::Create(folder_ / "out/", false);
    ASSERT_TRUE(directory.ok());
    ASSERT_TRUE((*directory)->Open("a", 3).ok());
  }
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(AtomicFileTest, AFullDirectoryIsReplacedOnlyWhenAsked) {
  fs::create_directory(folder_ / "out");
  Put(folder_ / "out/old", "old");
  EXPECT_EQ(AtomicDirectory::Create(folder_ / "out", false).status().code(),
            absl::StatusCode::kAlreadyExists);
  auto directory = AtomicDirectory::Create(folder_ / "out", true);
  ASSERT_TRUE(directory.ok());
  ASSERT_TRUE((*directory)->Open("new", 0).ok());
  ASSERT_TRUE((*directory)->Commit().ok());
  EXPECT_TRUE(fs::exists(folder_ / "out/new"));
  EXPECT_FALSE(fs::exists(folder_ / "out/old"));
  EXPECT_THAT(Names(), UnorderedElementsAre("out"));
}

}  // namespace
}  // namespace ckpt::ctl
