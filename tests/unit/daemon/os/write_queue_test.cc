// One suite for both ways to write while something else is done.
#include "daemon/os/write_queue.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <absl/synchronization/blocking_counter.h>

#include "daemon/os/real_file.h"
#include "tests/testing/temp_dir.h"

namespace ckptd::os {
namespace {

class WriteQueueTest : public ::testing::TestWithParam<std::unique_ptr<WriteQueue> (*)()> {
 protected:
  void SetUp() override {
    queue_ = GetParam()();
    if (queue_ == nullptr) GTEST_SKIP() << "the kernel refuses io_uring here";
    fd_ = OpenDescriptor(dir_ / "f", O_RDWR | O_CREAT);
    ASSERT_TRUE(fd_.ok());
  }

  int WriteAndWait(int fd, uint64_t offset, std::span<const std::byte> bytes) {
    int result = -1;
    absl::BlockingCounter done(1);
    queue_->Start(fd, offset, bytes, [&](int error) {
      result = error;
      done.DecrementCount();
    });
    done.Wait();
    return result;
  }

  std::vector<std::byte> Contents() {
    const auto text = NewRealFileSystem()->ReadFile(dir_ / "f");
    EXPECT_TRUE(text.ok()) << text.status();
    const auto bytes = std::as_bytes(std::span(*text));
    return {bytes.begin(), bytes.end()};
  }

  TempDir dir_;
  FileDescriptor fd_;
  std::unique_ptr<WriteQueue> queue_;
};

std::vector<std::byte> Fill(size_t size, int value) {
  return std::vector<std::byte>(size, static_cast<std::byte>(value));
}

TEST_P(WriteQueueTest, MoreWritesThanItHasRoomForAreAllDone) {
  constexpr int kThreads = 4, kWrites = 200;  // each
  constexpr size_t kBytes = 10'000;
  std::vector<std::vector<std::byte>> sources;
  for (int i = 0; i < kThreads * kWrites; ++i) sources.push_back(Fill(kBytes, i % 251));
  absl::BlockingCounter done(kThreads * kWrites);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; i < kThreads * kWrites; i += kThreads) {
        queue_->Start(fd_.get(), static_cast<uint64_t>(i) * kBytes, sources[i], [&](int error) {
          EXPECT_EQ(error, 0);
          done.DecrementCount();
        });
      }
    });
  }
  // The threads end before their writes do.
  for (std::thread& thread : threads) thread.join();
  done.Wait();
  const std::vector<std::byte> contents = Contents();
  ASSERT_EQ(contents.size(), kThreads * kWrites * kBytes);
  for (size_t i = 0; i < sources.size(); ++i) {
    ASSERT_TRUE(std::equal(sources[i].begin(), sources[i].end(), contents.begin() + i * kBytes));
  }
}

TEST_P(WriteQueueTest, ItsEndWaitsForWhatIsUnderWay) {
  const std::vector<std::byte> bytes = Fill(1 << 20, 7);
  int done = 0;  // by one thread at a time, and read after its end
  absl::Mutex mutex;
  for (uint64_t i = 0; i < 20; ++i) {
    queue_->Start(fd_.get(), i * bytes.size(), bytes, [&](int error) {
      EXPECT_EQ(error, 0);
      absl::MutexLock lock(&mutex);
      ++done;
    });
  }
  queue_.reset();
  EXPECT_EQ(done, 20);
}

TEST_P(WriteQueueTest, AFailureIsTheErrnoAndTheNextWriteIsNotConcerned) {
  const std::vector<std::byte> bytes = Fill(5000, 1);
  const FileDescriptor read_only = OpenDescriptor(dir_ / "f", O_RDONLY);
  EXPECT_EQ(WriteAndWait(read_only.get(), 0, bytes), EBADF);
  EXPECT_EQ(WriteAndWait(fd_.get(), 0, bytes), 0);
  EXPECT_EQ(Contents(), bytes);
}

// The kernel writes up to the limit and says so; only the rest fails.
TEST_P(WriteQueueTest, AShortWriteIsGoneOnWithAndSaysWhyItStopped) {
  signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit limit{.rlim_cur = 12'000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::vector<std::byte> bytes = Fill(20'000, 1);
  EXPECT_EQ(WriteAndWait(fd_.get(), 0, bytes), EFBIG);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(Contents(), Fill(12'000, 1));
  EXPECT_EQ(WriteAndWait(fd_.get(), 0, bytes), 0);
  EXPECT_EQ(Contents(), bytes);
}

TEST_P(WriteQueueTest, NothingToWriteIsDone) { EXPECT_EQ(WriteAndWait(fd_.get(), 0, {}), 0); }

INSTANTIATE_TEST_SUITE_P(All, WriteQueueTest, ::testing::Values(&NewRingQueue, &NewThreadQueue),
                         [](const auto& info) {
                           return info.param == &NewRingQueue ? "Ring" : "Threads";
                         });

// A process without a descriptor to spare stands for a kernel that refuses.
TEST(NewWriteQueueTest, TakesThreadsWhereThereIsNoRing) {
  TempDir dir;
  const FileDescriptor fd = OpenDescriptor(dir / "f", O_RDWR | O_CREAT);
  ASSERT_TRUE(fd.ok());
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const std::unique_ptr<WriteQueue> ring = NewRingQueue();
  const std::shared_ptr<WriteQueue> queue = NewWriteQueue(WriteMode::kAuto);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(ring, nullptr);
  ASSERT_NE(queue, nullptr);
  const std::vector<std::byte> bytes = Fill(5000, 1);
  absl::BlockingCounter done(1);
  queue->Start(fd.get(), 0, bytes, [&](int error) {
    EXPECT_EQ(error, 0);
    done.DecrementCount();
  });
  done.Wait();
  EXPECT_EQ(NewRealFileSystem()->ReadFile(dir / "f")->size(), bytes.size());
}

}  // namespace
}  // namespace ckptd::os
