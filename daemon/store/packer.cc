#include "daemon/store/packer.h"

#include <algorithm>
#include <string>
#include <utility>

#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include "daemon/os/thread.h"

namespace ckptd {
namespace {

// How soon it is seen that a push has ended. That one has begun is seen before
// the next chunk.
constexpr absl::Duration kBusyPoll = absl::Milliseconds(20);

}  // namespace

Packer::Packer(Work work, uint64_t bytes_per_second, absl::Duration retry)
    : work_(std::move(work)), bytes_per_second_(bytes_per_second), retry_(retry) {}

void Packer::Start() {
  {
    absl::MutexLock lock(&mutex_);
    started_ = true;
  }
  low_thread_ = std::thread([this] {
    os::NameThread("packer-low");
    os::LowerThreadPriority();
    LowLoop();
  });
  thread_ = std::thread([this] {
    os::NameThread("packer");
    Loop();
  });
}

void Packer::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
  {
    absl::MutexLock lock(&mutex_);
    low_ends_ = true;
  }
  if (low_thread_.joinable()) low_thread_.join();
}

void Packer::RunLow(const std::function<void()>& compute) {
  absl::MutexLock lock(&mutex_);
  computing_ = &compute;
  auto done = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return computing_ == nullptr; };
  mutex_.Await(absl::Condition(&done));
}

void Packer::LowLoop() {
  for (;;) {
    const std::function<void()>* compute = nullptr;
    {
      absl::MutexLock lock(&mutex_);
      auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
        return low_ends_ || computing_ != nullptr;
      };
      mutex_.Await(absl::Condition(&ready));
      if (low_ends_) return;
      compute = computing_;
    }
    (*compute)();
    absl::MutexLock lock(&mutex_);
    computing_ = nullptr;
  }
}

void Packer::Look(int64_t run_id) {
  absl::MutexLock lock(&mutex_);
  if (started_) due_.insert(run_id);
}

bool Packer::GoOn(uint64_t bytes) {
  if (bytes_per_second_ != 0) {
    const double seconds = static_cast<double>(bytes) / static_cast<double>(bytes_per_second_);
    not_before_ = std::max(not_before_, absl::Now()) + absl::Seconds(seconds);
  }
  for (;;) {
    const absl::Duration wait =
        work_.is_busy() ? kBusyPoll : std::max(not_before_ - absl::Now(), absl::ZeroDuration());
    if (!Sleep(wait)) return false;
    if (wait == absl::ZeroDuration()) return true;
  }
}

bool Packer::Sleep(absl::Duration duration) {
  absl::MutexLock lock(&mutex_);
  if (duration > absl::ZeroDuration()) {
    mutex_.AwaitWithTimeout(absl::Condition(&stopping_), duration);
  }
  return !stopping_;
}

void Packer::Loop() {
  for (;;) {
    int64_t run_id = 0;
    {
      absl::MutexLock lock(&mutex_);
      auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
        return stopping_ || !due_.empty();
      };
      mutex_.Await(absl::Condition(&ready));
      if (stopping_) return;
      run_id = *due_.begin();
      due_.erase(due_.begin());
    }
    if (!GoOn(0)) return;
    if (absl::Status status = work_.pack(run_id); !status.ok()) {
      spdlog::warn("packing history of run {} failed, will be tried again: {}", run_id,
                   std::string(status.message()));
      Look(run_id);
      if (!Sleep(retry_)) return;
    }
  }
}

}  // namespace ckptd
