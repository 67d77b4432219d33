// The second background hand: has history laid on disk in fewer bytes. This
// class is only about when: a run at a time, never while a push is under way,
// and no faster than it was told. Computing is done on a thread of the lowest
// priority; what holds the catalog's writer or a lock is not, or a commit would
// wait for a thread that hardly runs.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <thread>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include "proto/status.h"

namespace ckptd {

// Thread-safe, Stop and destructor aside.
class Packer {
 public:
  struct Work {
    // Packs what has become history of the run. Calls GoOn between any two
    // chunks, and ends at once when that says so.
    std::function<absl::Status(int64_t run_id)> pack;
    // Whether a push is under way.
    std::function<bool()> is_busy;
  };

  // `bytes_per_second` 0: as fast as it can. What failed is tried again after
  // `retry`.
  Packer(Work work, uint64_t bytes_per_second, absl::Duration retry);
  ~Packer() { Stop(); }

  void Start();
  // Ends the chunk under way and then the threads.
  void Stop();
  // Something of this run may have become history. Does nothing where
  // nothing was started.
  void Look(int64_t run_id);

  // For the work: calls `compute` on the thread of low priority, and waits.
  void RunLow(const std::function<void()>& compute) ABSL_LOCKS_EXCLUDED(mutex_);
  // For the work: `bytes` were read and packed since the call before. Waits as
  // long as a push is under way or it was too fast; false: end now.
  bool GoOn(uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Loop();
  void LowLoop();
  // Returns early, with false, when stopping.
  bool Sleep(absl::Duration duration) ABSL_LOCKS_EXCLUDED(mutex_);

  const Work work_;
  const uint64_t bytes_per_second_;
  const absl::Duration retry_;
  absl::Time not_before_ = absl::InfinitePast();  // of the thread alone

  absl::Mutex mutex_;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<int64_t> due_ ABSL_GUARDED_BY(mutex_);
  const std::function<void()>* computing_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool low_ends_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_, low_thread_;
};

}  // namespace ckptd
