#include "daemon/os/file_system.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <memory>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <absl/synchronization/blocking_counter.h>

#include "daemon/os/error.h"
#include "daemon/os/io_memory.h"
#include "tests/testing/fake_clock.h"
#include "tests/testing/temp_dir.h"

namespace ckptd::os {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// One block after the other, each full of its own number.
class Blocks {
 public:
  explicit Blocks(size_t count, uint8_t first = 1)
      : memory_(static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, count * kBlockBytes)),
                &std::free),
        size_(count * kBlockBytes) {
    for (size_t i = 0; i < size_; ++i) {
      memory_.get()[i] = static_cast<std::byte>(first + i / kBlockBytes);
    }
  }
  std::span<const std::byte> bytes() const { return {memory_.get(), size_}; }

 private:
  std::unique_ptr<std::byte, decltype(&std::free)> memory_;
  size_t size_;
};

class FileSystemTest : public ::testing::Test {
 protected:
  TempDir dir_;
  std::unique_ptr<FileSystem> fs_ = NewRealFileSystem();
};

std::string Contents(FileSystem& fs, const std::string& path) {
  const auto contents = fs.ReadFile(path);
  EXPECT_TRUE(contents.ok()) << contents.status();
  return contents.value_or("");
}

TEST(ErrnoErrorTest, EachErrorHasItsCodeAndReason) {
  const struct {
    int error;
    absl::StatusCode code;
    const char* reason;
  } kCases[] = {
      {ENOSPC, absl::StatusCode::kResourceExhausted, ckpt::reason::kNoSpace},
      {EDQUOT, absl::StatusCode::kResourceExhausted, ckpt::reason::kNoSpace},
      {EROFS, absl::StatusCode::kFailedPrecondition, ckpt::reason::kReadOnly},
      {EACCES, absl::StatusCode::kFailedPrecondition, ckpt::reason::kReadOnly},
      {EPERM, absl::StatusCode::kFailedPrecondition, ckpt::reason::kReadOnly},
      {ENOENT, absl::StatusCode::kNotFound, ckpt::reason::kIoError},
      {EEXIST, absl::StatusCode::kAlreadyExists, ckpt::reason::kIoError},
      {EIO, absl::StatusCode::kUnavailable, ckpt::reason::kIoError},
      {EMFILE, absl::StatusCode::kUnavailable, ckpt::reason::kIoError},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.error);
    const absl::Status status = ErrnoError(test.error, "write", "/data/x");
    EXPECT_EQ(status.code(), test.code);
    EXPECT_EQ(ckpt::ReasonOf(status), test.reason);
    EXPECT_THAT(std::string(status.message()), HasSubstr("cannot write /data/x: "));
  }
}

TEST(ParentDirTest, IsWhatLiesBeforeTheLastComponent) {
  const struct {
    const char* path;
    const char* parent;
  } kCases[] = {{"/a/b", "/a"}, {"/a/b/", "/a"}, {"/a", "/"}, {"/", "/"},
                {"a", "."},     {"a/b", "a"},    {"", "."}};
  for (const auto& test : kCases) EXPECT_EQ(ParentDir(test.path), test.parent) << test.path;
}

TEST_F(FileSystemTest, BlocksAreWrittenAndReadAtTheirPositions) {
  const auto file = fs_->CreateForAppend(dir_ / "f");
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Write(kBlockBytes, Blocks(2, 7).bytes()).ok());
  ASSERT_TRUE((*file)->Write(0, Blocks(1, 1).bytes()).ok());
  ASSERT_TRUE((*file)->SyncData().ok());
  ASSERT_TRUE(fs_->SyncDir(dir_.path()).ok());

  const auto reader = fs_->OpenForRead(dir_ / "f");
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::vector<std::byte> read(3 * kBlockBytes);
  EXPECT_EQ((*reader)->Size().value_or(0), read.size());
  EXPECT_EQ((*reader)->Read(0, read).value_or(0), read.size());
  EXPECT_EQ(read[0], std::byte{1});
  EXPECT_EQ(read[kBlockBytes], std::byte{7});
  EXPECT_EQ(read[2 * kBlockBytes], std::byte{8});
  EXPECT_EQ((*reader)->Read(2 * kBlockBytes, read).value_or(0), kBlockBytes);  // the end
  EXPECT_EQ((*reader)->Read(1 << 20, read).value_or(1), 0u);
}

TEST_F(FileSystemTest, AViewHasWhatAReadHas) {
  std::string contents(1 << 20, '\0');
  for (size_t i = 0; i < contents.size(); ++i) contents[i] = static_cast<char>(i * 7 + i / 251);
  contents += "and an end within a page";
  ASSERT_TRUE(fs_->ReplaceFile(dir_ / "f", contents).ok());
  const auto file = fs_->OpenForRead(dir_ / "f");
  ASSERT_TRUE(file.ok()) << file.status();
  for (const auto& [offset, length] : std::vector<std::pair<size_t, size_t>>{
           {0, contents.size()}, {1, 1 << 19}, {kBlockBytes, 100}, {kBlockBytes - 1, 200'000},
           {0, contents.size() + 1}, {contents.size() - 100'000, 200'000}, {contents.size() - 5, 9},
           {contents.size(), 1}, {1 << 30, 1 << 20}, {7, 0}}) {
    SCOPED_TRACE(fmt::format("{} + {}", offset, length));
    const auto view = (*file)->View(offset, length);
    ASSERT_TRUE(view.ok()) << view.status();
    const auto bytes = (*view)->bytes();
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
              std::string_view(contents).substr(std::min(offset, contents.size()), length));
  }
}

TEST_F(FileSystemTest, AViewOutlivesItsFile) {
  ASSERT_TRUE(fs_->ReplaceFile(dir_ / "f", std::string(1 << 20, 'x')).ok());
  std::unique_ptr<SharedBytes> view;
  {
    const auto file = fs_->OpenForRead(dir_ / "f");
    ASSERT_TRUE(file.ok()) << file.status();
    auto viewed = (*file)->View(0, 1 << 20);
    ASSERT_TRUE(viewed.ok()) << viewed.status();
    view = *std::move(viewed);
  }
  ASSERT_TRUE(fs_->Remove(dir_ / "f").ok());
  EXPECT_TRUE(std::ranges::all_of(view->bytes(), [](std::byte b) { return b == std::byte{'x'}; }));
}

TEST_F(FileSystemTest, PagesThatAreGoneReadAsZerosInAView) {
  constexpr size_t kBytes = 1 << 20, kLeft = kBytes / 4;
  ASSERT_TRUE(fs_->ReplaceFile(dir_ / "f", std::string(kBytes, 'x')).ok());
  const auto file = fs_->OpenForUpdate(dir_ / "f");
  ASSERT_TRUE(file.ok()) << file.status();
  // Several at once, so that each finds what is its own.
  std::vector<std::unique_ptr<SharedBytes>> views;
  for (int i = 0; i < 8; ++i) {
    auto view = (*file)->View(0, kBytes);
    ASSERT_TRUE(view.ok()) << view.status();
    views.push_back(*std::move(view));
  }
  views.erase(views.begin() + 3);
  ASSERT_TRUE((*file)->Truncate(kLeft).ok());
  for (const auto& view : views) {
    const auto bytes = view->bytes();
    ASSERT_EQ(bytes.size(), kBytes);
    for (size_t i = 0; i < kBytes; ++i) {
      ASSERT_EQ(bytes[i], i < kLeft ? std::byte{'x'} : std::byte{0}) << i;
    }
  }
}

TEST(BusErrorTest, EndsTheProcessWhereItWasNoView) {
  const auto look_behind_the_end = [] {
    TempDir dir;
    const auto fs = NewRealFileSystem();
    if (!fs->ReplaceFile(dir / "f", std::string(1 << 20, 'x')).ok()) return;
    const auto file = fs->OpenForRead(dir / "f");
    const auto view = (*file)->View(0, 1 << 20);
    const int fd = open((dir / "f").c_str(), O_RDONLY);
    const auto* others = static_cast<const volatile char*>(
        mmap(nullptr, 2 << 20, PROT_READ, MAP_SHARED, fd, 0));
    if (others[0] != 'x') return;
    static_cast<void>(others[(2 << 20) - 1]);
  };
  EXPECT_EXIT(look_behind_the_end(), testing::KilledBySignal(SIGBUS), "");
}

TEST_F(FileSystemTest, ADirectReadEndsWhereTheFileDoes) {
  const std::string contents(2 * kBlockBytes + 100, 'x');
  ASSERT_TRUE(fs_->ReplaceFile(dir_ / "f", contents).ok());
  const auto file = fs_->OpenDirect(dir_ / "f");
  ASSERT_TRUE(file.ok()) << file.status();
  const IoMemory memory = AllocateForIo(4 * kBlockBytes);
  const std::span<std::byte> out(memory.get(), 4 * kBlockBytes);
  EXPECT_EQ((*file)->Read(0, out).value_or(0), contents.size());
  EXPECT_EQ(out[contents.size() - 1], std::byte{'x'});
  EXPECT_EQ((*file)->Read(2 * kBlockBytes, out).value_or(0), 100u);
  EXPECT_EQ((*file)->Read(3 * kBlockBytes, out).value_or(1), 0u);
  EXPECT_TRUE(absl::IsNotFound(fs_->OpenDirect(dir_ / "none").status()));
}

TEST(WriteModeTest, StartedWritesAreWhereTheyBelongInEitherMode) {
  for (const WriteMode mode : {WriteMode::kAuto, WriteMode::kPlain}) {
    SCOPED_TRACE(mode == WriteMode::kAuto ? "auto" : "plain");
    TempDir dir;
    constexpr uint64_t kCount = 40;
    const Blocks blocks(kCount);
    const auto file = NewRealFileSystem(mode)->CreateForAppend(dir / "f");
    ASSERT_TRUE(file.ok()) << file.status();
    const auto allocated = (*file)->Allocate((kCount + 5) * kBlockBytes);
    ASSERT_TRUE(allocated.ok()) << allocated.status();
    absl::BlockingCounter done(kCount);
    for (uint64_t i = kCount; i-- > 0;) {
      const uint64_t at = i * kBlockBytes;
      (*file)->StartWrite(at, blocks.bytes().subspan(at, kBlockBytes), [&](const auto& status) {
        EXPECT_TRUE(status.ok()) << status;
        done.DecrementCount();
      });
    }
    done.Wait();
    const uint64_t size = (*file)->Size().value_or(0);
    EXPECT_EQ(size, (*allocated ? kCount + 5 : kCount) * kBlockBytes);
    ASSERT_TRUE((*file)->Truncate(kCount * kBlockBytes).ok());
    ASSERT_TRUE((*file)->SyncData().ok());
    std::vector<std::byte> read(kCount * kBlockBytes);
    const auto reader = NewRealFileSystem()->OpenForRead(dir / "f");
    ASSERT_TRUE(reader.ok()) << reader.status();
    EXPECT_EQ((*reader)->Read(0, read).value_or(0), read.size());
    EXPECT_TRUE(std::equal(read.begin(), read.end(), blocks.bytes().begin()));
  }
}

TEST_F(FileSystemTest, CreatingWhatExistsIsRefused) {
  ASSERT_TRUE(fs_->CreateForAppend(dir_ / "f").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(fs_->CreateForAppend(dir_ / "f").status()));
  EXPECT_TRUE(absl::IsNotFound(fs_->OpenForRead(dir_ / "none").status()));
  EXPECT_TRUE(absl::IsNotFound(fs_->OpenForUpdate(dir_ / "none").status()));
  EXPECT_TRUE(absl::IsNotFound(fs_->Remove(dir_ / "none")));
}

TEST_F(FileSystemTest, APunchedHoleGivesBlocksBackAndKeepsTheSize) {
  const auto file = fs_->CreateForAppend(dir_ / "f");
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Write(0, Blocks(64).bytes()).ok());
  ASSERT_TRUE((*file)->SyncData().ok());
  const uint64_t before = (*file)->AllocatedBytes().value_or(0);
  ASSERT_TRUE((*file)->PunchHole(16 * kBlockBytes, 32 * kBlockBytes).ok());
  EXPECT_EQ((*file)->Size().value_or(0), 64 * kBlockBytes);
  const uint64_t after = (*file)->AllocatedBytes().value_or(0);
  if (after == before) GTEST_SKIP() << "this file system has no holes";
  // The file system may need a block or two of its own to describe the hole.
  EXPECT_LE(after, before - 28 * kBlockBytes);
  EXPECT_EQ(fs_->AllocatedBytes(dir_ / "f").value_or(0), after);
  std::byte byte{1};
  EXPECT_TRUE((*fs_->OpenForRead(dir_ / "f"))->Read(16 * kBlockBytes, std::span(&byte, 1)).ok());
  EXPECT_EQ(byte, std::byte{0});
}

TEST_F(FileSystemTest, ATruncatedFileEndsThere) {
  ASSERT_TRUE(fs_->ReplaceFile(dir_ / "f", "0123456789").ok());
  const auto file = fs_->OpenForUpdate(dir_ / "f");
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Truncate(4).ok());
  EXPECT_EQ(Contents(*fs_, dir_ / "f"), "0123");
}

TEST_F(FileSystemTest, CreateDirsSaysWhichDirectoriesToSync) {
  const auto changed = fs_->CreateDirs(dir_ / "a/b");
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_THAT(*changed, ElementsAre(dir_.path(), dir_ / "a"));
  const auto again = fs_->CreateDirs(dir_ / "a/b");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_THAT(*again, ElementsAre());
  ASSERT_TRUE(fs_->ReplaceFile(dir_ / "file", "").ok());
  EXPECT_FALSE(fs_->CreateDirs(dir_ / "file/x").ok());
}

TEST_F(FileSystemTest, RenameReplacesAndNamesWhatIsMissing) {
  EXPECT_TRUE(fs_->ReplaceFile(dir_ / "a", "new").ok());
  EXPECT_TRUE(fs_->ReplaceFile(dir_ / "b", "old").ok());
  EXPECT_TRUE(fs_->Rename(dir_ / "a", dir_ / "b").ok());
  EXPECT_EQ(Contents(*fs_, dir_ / "b"), "new");
  const absl::Status missing = fs_->Rename(dir_ / "a", dir_ / "b");
  EXPECT_TRUE(absl::IsNotFound(missing)) << missing;
  EXPECT_THAT(std::string(missing.message()), HasSubstr(dir_ / "a"));
}

TEST_F(FileSystemTest, ListIsSorted) {
  for (const char* name : {"b", "a", "c"}) ASSERT_TRUE(fs_->ReplaceFile(dir_ / name, "").ok());
  const auto names = fs_->List(dir_.path());
  ASSERT_TRUE(names.ok()) << names.status();
  EXPECT_THAT(*names, ElementsAre("a", "b", "c"));
  EXPECT_TRUE(absl::IsNotFound(fs_->List(dir_ / "none").status()));
}

TEST_F(FileSystemTest, ReplaceFileReplacesAndLeavesNothingBeside) {
  ASSERT_TRUE(fs_->ReplaceFile(dir_ / "f", "old, and longer").ok());
  ASSERT_TRUE(fs_->ReplaceFile(dir_ / "f", "new").ok());
  EXPECT_EQ(Contents(*fs_, dir_ / "f"), "new");
  EXPECT_THAT(*fs_->List(dir_.path()), ElementsAre("f"));
  EXPECT_TRUE(absl::IsNotFound(fs_->ReplaceFile(dir_ / "none/f", "x")));
}

TEST_F(FileSystemTest, FreeBytesAreKnown) {
  EXPECT_GT(fs_->FreeBytes(dir_.path()).value_or(0), 0u);
  EXPECT_TRUE(absl::IsNotFound(fs_->FreeBytes(dir_ / "none").status()));
}

TEST_F(FileSystemTest, ASecondLockNamesTheHolder) {
  auto first = fs_->Lock(dir_ / "lock");
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = fs_->Lock(dir_ / "lock");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ckpt::ReasonOf(second.status()), ckpt::reason::kDirectoryLocked);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(fmt::format("pid {}", getpid())));
  first->reset();
  EXPECT_TRUE(fs_->Lock(dir_ / "lock").ok());
}

TEST_F(FileSystemTest, ALockEndsWithItsProcess) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto held = fs_->Lock(dir_ / "lock");
    _exit(held.ok() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(fs_->Lock(dir_ / "lock").ok());
}

TEST_F(FileSystemTest, AReadOnlyDirectorySaysSo) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  ASSERT_TRUE(fs_->CreateDirs(dir_ / "ro").ok());
  ASSERT_EQ(chmod((dir_ / "ro").c_str(), 0500), 0);
  for (const absl::Status& status :
       {fs_->CreateForAppend(dir_ / "ro/f").status(), fs_->Lock(dir_ / "ro/lock").status(),
        fs_->CreateDirs(dir_ / "ro/d").status(), fs_->ReplaceFile(dir_ / "ro/f", "")}) {
    EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kReadOnly) << status;
  }
}

TEST_F(FileSystemTest, AFullDeviceIsNoSpace) {
  const auto file = fs_->OpenForUpdate("/dev/full");
  if (!file.ok()) GTEST_SKIP() << "no /dev/full here";
  const absl::Status status = (*file)->Write(0, Blocks(1).bytes());
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kNoSpace);
}

TEST(FakeClockTest, StandsUntilMoved) {
  FakeClock clock;
  const absl::Time begin = clock.Now();
  EXPECT_EQ(clock.Now(), begin);
  clock.Advance(absl::Hours(1));
  EXPECT_EQ(clock.Now(), begin + absl::Hours(1));
  clock.Set(begin - absl::Hours(1));
  EXPECT_EQ(clock.Now(), begin - absl::Hours(1));
}

}  // namespace
}  // namespace ckptd::os
