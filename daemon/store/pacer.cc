#include "daemon/store/pacer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <absl/time/clock.h>
#include <spdlog/spdlog.h>

#include "daemon/os/thread.h"
#include "proto/priority.h"

namespace ckptd {
namespace {

// How soon it is seen that nobody is in the way any more. That somebody is now
// is seen before the next step.
constexpr absl::Duration kBusyPoll = absl::Milliseconds(20);

}  // namespace

Pacer::Pacer(std::function<bool()> is_busy, Options options)
    : is_busy_(std::move(is_busy)), options_(options) {}

Pacer::~Pacer() {
  {
    absl::MutexLock lock(&mutex_);
    low_ends_ = true;
  }
  if (low_thread_.joinable()) low_thread_.join();
}

void Pacer::Start() {
  low_thread_ = std::thread([this] {
    os::NameThread("low");
    // Only what nobody else wants.
    if (const int error = ckpt::GiveWay(19); error != 0) {
      spdlog::warn("a background thread keeps its priority: {}", std::strerror(error));
    }
    LowLoop();
  });
}

void Pacer::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
}

bool Pacer::GoOn(uint64_t bytes) {
  const absl::Time began = absl::Now();
  if (options_.bytes_per_second != 0) {
    const double seconds =
        static_cast<double>(bytes) / static_cast<double>(options_.bytes_per_second);
    not_before_ = std::max(not_before_, began) + absl::Seconds(seconds);
  }
  for (;;) {
    const absl::Time now = absl::Now();
    const bool waits = now - began < options_.patience && is_busy_();
    const absl::Duration wait =
        waits ? kBusyPoll : std::max(not_before_ - now, absl::ZeroDuration());
    if (!Sleep(wait)) return false;
    if (wait == absl::ZeroDuration()) return true;
  }
}

bool Pacer::Sleep(absl::Duration duration) {
  absl::MutexLock lock(&mutex_);
  if (duration > absl::ZeroDuration()) {
    mutex_.AwaitWithTimeout(absl::Condition(&stopping_), duration);
  }
  return !stopping_;
}

void Pacer::RunLow(const std::function<void()>& compute) {
  absl::MutexLock lock(&mutex_);
  computing_ = &compute;
  auto done = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return computing_ == nullptr; };
  mutex_.Await(absl::Condition(&done));
}

void Pacer::LowLoop() {
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

}  // namespace ckptd
