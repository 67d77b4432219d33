// A clock that stands until a test moves it.
#pragma once

#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include "daemon/os/clock.h"

namespace ckptd::os {

// Thread-safe.
class FakeClock final : public Clock {
 public:
  // 2026-01-01 00:00:00 UTC unless said otherwise.
  explicit FakeClock(absl::Time now = absl::FromUnixSeconds(1767225600)) : now_(now) {}

  absl::Time Now() override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    absl::MutexLock lock(&mutex_);
    now_ += by;
  }
  // Also backwards, as real clocks do.
  void Set(absl::Time now) {
    absl::MutexLock lock(&mutex_);
    now_ = now;
  }

 private:
  absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ckptd::os
