// The third background hand: has all that is stored read and compared, over and
// over. This class is only about when: a pass at a time, at the pace of its
// Pacer, begun by the clock or because somebody asked.
#pragma once

#include <cstdint>
#include <functional>
#include <thread>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include "daemon/store/pacer.h"
#include "proto/status.h"

namespace ckptd {

// Thread-safe, Stop and destructor aside.
class Scrubber {
 public:
  struct Work {
    // Whether a pass is to begin, or one that was interrupted to go on.
    std::function<absl::StatusOr<bool>()> is_due;
    // Begins a pass, or goes on with it, and ends it. Calls GoOn between any two
    // chunks, and ends at once when that says so.
    std::function<absl::Status()> run;
    // Whether a push or a fetch is under way.
    std::function<bool()> is_busy;
  };

  // `bytes_per_second` 0: as fast as it can. `interval`: how often it is asked
  // whether a pass is due, and after what time one that failed goes on. The start
  // is left to those who resume: nothing is read before the first has passed.
  Scrubber(Work work, uint64_t bytes_per_second, absl::Duration interval);
  ~Scrubber() { Stop(); }

  void Start();
  // Ends the chunk under way and then the thread.
  void Stop();
  // Asks now whether a pass is due.
  void Wake();

  // For the work, as those of Pacer.
  void RunLow(const std::function<void()>& compute) { pacer_.RunLow(compute); }
  bool GoOn(uint64_t bytes) { return pacer_.GoOn(bytes); }

 private:
  void Loop();

  const Work work_;
  const absl::Duration interval_;
  Pacer pacer_;

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool awake_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace ckptd
