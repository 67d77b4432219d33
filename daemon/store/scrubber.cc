#include "daemon/store/scrubber.h"

#include <string>
#include <utility>

#include <spdlog/spdlog.h>

#include "daemon/os/thread.h"

namespace ckptd {
namespace {

// A client that hangs in a push or a fetch must not keep the scrub away for ever:
// after this time it takes a step all the same, which is a chunk.
constexpr absl::Duration kPatience = absl::Seconds(10);

}  // namespace

Scrubber::Scrubber(Work work, uint64_t bytes_per_second, absl::Duration interval)
    : work_(std::move(work)),
      interval_(interval),
      pacer_(work_.is_busy, {.bytes_per_second = bytes_per_second, .patience = kPatience}) {}

void Scrubber::Start() {
  pacer_.Start();
  thread_ = std::thread([this] {
    os::NameThread("scrubber");
    Loop();
  });
}

void Scrubber::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  pacer_.Stop();
  if (thread_.joinable()) thread_.join();
}

void Scrubber::Wake() {
  absl::MutexLock lock(&mutex_);
  awake_ = true;
}

void Scrubber::Loop() {
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || awake_; };
      mutex_.AwaitWithTimeout(absl::Condition(&ready), interval_);
      if (stopping_) return;
      awake_ = false;
    }
    const absl::StatusOr<bool> due = work_.is_due();
    absl::Status status = due.status();
    if (due.ok() && *due && pacer_.GoOn(0)) status = work_.run();
    if (!status.ok()) {
      spdlog::warn("the scrub cannot go on, will be tried again: {}",
                   std::string(status.message()));
    }
  }
}

}  // namespace ckptd
