// Whether a thread that works in a loop is stuck: it says how soon it will be
// heard of again, and anybody can ask whether it kept its word. By the clock that
// nobody sets.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>

#include <absl/time/time.h>

namespace ckptd::os {

// Thread-safe; made with no promise given.
class Pulse {
 public:
  // The thread comes here again within `limit`.
  void Promise(absl::Duration limit) {
    const absl::Duration at = absl::Nanoseconds(Now()) + limit;  // may be infinite
    due_.store(absl::ToInt64Nanoseconds(at), std::memory_order_relaxed);
  }

  // By how much the promise is broken; zero while it is kept.
  absl::Duration Overdue() const {
    const int64_t late = Now() - due_.load(std::memory_order_relaxed);
    return late > 0 ? absl::Nanoseconds(late) : absl::ZeroDuration();
  }

 private:
  static int64_t Now() {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  std::atomic<int64_t> due_ = std::numeric_limits<int64_t>::max();
};

}  // namespace ckptd::os
