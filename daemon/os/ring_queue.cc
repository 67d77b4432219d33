// Writes through io_uring.
//
// One ring and one thread that alone touches it: the kernel ties a request to
// the thread that submitted it and cancels it when that thread ends, and the
// threads of chunk streams end while their last writes are under way.
#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <deque>
#include <thread>
#include <utility>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include "daemon/os/write_queue.h"

namespace ckptd::os {
namespace {

// More than the daemon has buffers to write from, and one for the wake-up.
constexpr unsigned kEntries = 128;
constexpr unsigned kMaxWrites = kEntries - 1;

class RingQueue final : public WriteQueue {
 public:
  ~RingQueue() override {
    if (thread_.joinable()) {
      {
        absl::MutexLock lock(&mutex_);
        stopping_ = true;
      }
      Wake();
      thread_.join();
    }
    if (ring_made_) io_uring_queue_exit(&ring_);
    if (wake_fd_ >= 0) close(wake_fd_);
  }

  // 0 or the errno.
  int Open() {
    if (const int error = io_uring_queue_init(kEntries, &ring_, 0); error < 0) return -error;
    ring_made_ = true;
    io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
    const bool can_write = probe != nullptr && io_uring_opcode_supported(probe, IORING_OP_WRITE);
    io_uring_free_probe(probe);
    if (!can_write) return ENOSYS;
    wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd_ < 0) return errno;
    thread_ = std::thread([this] { Run(); });
    return 0;
  }

  void Start(int fd, uint64_t offset, std::span<const std::byte> bytes, Done done) override {
    auto write = std::make_unique<Write>(fd, offset, bytes, std::move(done));
    {
      absl::MutexLock lock(&mutex_);
      const auto room = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
        return under_way_ < kMaxWrites;
      };
      mutex_.Await(absl::Condition(&room));
      ++under_way_;
      waiting_.push_back(std::move(write));
    }
    Wake();
  }

 private:
  struct Write {
    Write(int fd, uint64_t offset, std::span<const std::byte> bytes, Done done)
        : fd(fd), offset(offset), bytes(bytes), done(std::move(done)) {}
    int fd;
    uint64_t offset;
    std::span<const std::byte> bytes;  // what is not written yet
    Done done;
  };

  void Wake() {
    const uint64_t one = 1;
    // Full only when it was never read: the thread is on its way already.
    [[maybe_unused]] const ssize_t n = write(wake_fd_, &one, sizeof(one));
  }

  void Run() {
    ListenForWakes();
    for (;;) {
      std::deque<std::unique_ptr<Write>> fresh;
      {
        absl::MutexLock lock(&mutex_);
        if (stopping_ && under_way_ == 0) return;
        fresh.swap(waiting_);
      }
      for (std::unique_ptr<Write>& write : fresh) Submit(std::move(write));
      // An error here (EINTR, EAGAIN, EBUSY) leaves what could not be submitted
      // for the next turn.
      io_uring_submit_and_wait(&ring_, 1);
      io_uring_cqe* cqe = nullptr;
      while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
        auto* write = static_cast<Write*>(io_uring_cqe_get_data(cqe));
        const int result = cqe->res;
        io_uring_cqe_seen(&ring_, cqe);
        if (write == nullptr) {
          uint64_t wakes;
          [[maybe_unused]] const ssize_t n = read(wake_fd_, &wakes, sizeof(wakes));
          ListenForWakes();
        } else {
          Complete(std::unique_ptr<Write>(write), result);
        }
      }
    }
  }

  // The ring has room for every write and the wake-up at once.
  io_uring_sqe* NextEntry() {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    while (entry == nullptr) {
      io_uring_submit(&ring_);
      entry = io_uring_get_sqe(&ring_);
    }
    return entry;
  }

  void ListenForWakes() {
    io_uring_sqe* entry = NextEntry();
    io_uring_prep_poll_add(entry, wake_fd_, POLLIN);
    io_uring_sqe_set_data(entry, nullptr);
  }

  void Submit(std::unique_ptr<Write> write) {
    io_uring_sqe* entry = NextEntry();
    const size_t length = std::min<size_t>(write->bytes.size(), INT_MAX & ~(kBlockBytes - 1));
    io_uring_prep_write(entry, write->fd, write->bytes.data(), static_cast<unsigned>(length),
                        write->offset);
    io_uring_sqe_set_data(entry, write.release());
  }

  void Complete(std::unique_ptr<Write> write, int result) {
    if (result == -EINTR || result == -EAGAIN) return Submit(std::move(write));
    int error = result < 0 ? -result : 0;
    if (result >= 0) {
      write->bytes = write->bytes.subspan(static_cast<size_t>(result));
      write->offset += static_cast<uint64_t>(result);
      if (!write->bytes.empty()) {
        // As in WriteFully: the rest says why, or succeeds.
        if (result > 0) return Submit(std::move(write));
        error = EIO;
      }
    }
    write->done(error);
    absl::MutexLock lock(&mutex_);
    --under_way_;
  }

  io_uring ring_;
  bool ring_made_ = false;
  int wake_fd_ = -1;
  std::thread thread_;

  absl::Mutex mutex_;
  std::deque<std::unique_ptr<Write>> waiting_ ABSL_GUARDED_BY(mutex_);
  unsigned under_way_ ABSL_GUARDED_BY(mutex_) = 0;  // waiting, or in the ring
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

std::unique_ptr<WriteQueue> NewRingQueue() {
  auto queue = std::make_unique<RingQueue>();
  if (const int error = queue->Open(); error != 0) {
    queue.reset();
    errno = error;
    return nullptr;
  }
  return queue;
}

}  // namespace ckptd::os
