#include "daemon/os/write_queue.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

namespace ckptd::os {
namespace {

// As many as keep a disk busy with 4 MiB each.
constexpr int kThreads = 8;

class ThreadQueue final : public WriteQueue {
 public:
  ThreadQueue() {
    for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { Run(); });
  }

  ~ThreadQueue() override {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    for (std::thread& thread : threads_) thread.join();
  }

  void Start(int fd, uint64_t offset, std::span<const std::byte> bytes, Done done) override {
    absl::MutexLock lock(&mutex_);
    waiting_.push_back({fd, offset, bytes, std::move(done)});
  }

 private:
  struct Write {
    int fd;
    uint64_t offset;
    std::span<const std::byte> bytes;
    Done done;
  };

  void Run() {
    const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return stopping_ || !waiting_.empty();
    };
    for (;;) {
      Write write;
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(&ready));
        if (waiting_.empty()) return;
        write = std::move(waiting_.front());
        waiting_.pop_front();
      }
      write.done(WriteFully(write.fd, write.offset, write.bytes));
    }
  }

  absl::Mutex mutex_;
  std::deque<Write> waiting_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<WriteQueue> NewThreadQueue() { return std::make_unique<ThreadQueue>(); }

std::shared_ptr<WriteQueue> NewWriteQueue(WriteMode mode) {
  if (mode == WriteMode::kAuto) {
    if (std::unique_ptr<WriteQueue> ring = NewRingQueue()) return ring;
    const int error = errno;
    static std::atomic<bool> said = false;
    if (!said.exchange(true)) {
      spdlog::warn("the kernel refuses io_uring ({}): packs are written by threads instead",
                   std::strerror(error));
    }
  }
  return NewThreadQueue();
}

int WriteFully(int fd, uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    // A short write is followed by one that says why (ENOSPC), or succeeds.
    if (n == 0) return EIO;
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return 0;
}

}  // namespace ckptd::os
