// When work in the background may go on: never while it would be in anybody's
// way, no faster than it was told, and with its computing done on a thread of
// the lowest priority. What holds the catalog's writer or a lock is not done
// there, or a commit would wait for a thread that hardly runs.
#pragma once

#include <cstdint>
#include <functional>
#include <thread>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

namespace ckptd {

// Of one worker's thread, which alone calls GoOn and RunLow. Stop is for others.
class Pacer {
 public:
  struct Options {
    uint64_t bytes_per_second = 0;  // 0: as fast as it can
    // Whoever is in the way for longer than this does not stop the work: from
    // then on it takes a step each time this has passed. For clients that hang.
    absl::Duration patience = absl::InfiniteDuration();
  };

  // `is_busy`: whether somebody is in the way.
  Pacer(std::function<bool()> is_busy, Options options);
  // The worker's thread has ended.
  ~Pacer();

  // Begins the thread of low priority.
  void Start();
  // From now on GoOn and Sleep say: end.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  // `bytes` were read since the call before. Waits as long as somebody is in the
  // way or it was too fast; false: end now.
  bool GoOn(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  // Returns early, with false, when stopping.
  bool Sleep(absl::Duration duration) ABSL_LOCKS_EXCLUDED(mutex_);
  // Calls `compute` on the thread of low priority, and waits.
  void RunLow(const std::function<void()>& compute) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void LowLoop() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::function<bool()> is_busy_;
  const Options options_;
  absl::Time not_before_ = absl::InfinitePast();  // of the worker's thread alone

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  const std::function<void()>* computing_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool low_ends_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread low_thread_;
};

}  // namespace ckptd
