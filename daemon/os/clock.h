// The time, as a parameter of whatever asks for it.
#pragma once

#include <absl/time/clock.h>
#include <absl/time/time.h>

namespace ckptd::os {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() = 0;
};

class RealClock final : public Clock {
 public:
  absl::Time Now() override { return absl::Now(); }
};

}  // namespace ckptd::os
