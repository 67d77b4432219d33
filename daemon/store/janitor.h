// The background hand: gives space back, drops unfinished uploads and answers
// whose time is over, and judges runs again when time alone changes a verdict. A slow
// removal never delays a save: it works in small transactions.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <thread>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include "daemon/os/pulse.h"
#include "proto/status.h"

namespace ckptd {

// Thread-safe. What there is to do comes as functions, so that this class is
// only about when.
class Janitor {
 public:
  struct Work {
    // Gives back a batch of space; true when there is more to do.
    std::function<absl::StatusOr<bool>()> reclaim;
    // Drops unfinished uploads past their deadline.
    std::function<absl::Status()> drop_uploads;
    // Forgets answers that were kept for long enough.
    std::function<absl::Status()> forget_answers;
    // Makes a snapshot of the catalog when its journal has grown.
    std::function<absl::Status()> keep_journal;
    // Judges a run again; it calls JudgeAt for its next time.
    std::function<absl::Status(int64_t run_id)> judge;
  };

  // The thread starts with the first Start. `now`: the clock. `stuck_after`: no
  // piece of work takes as long.
  Janitor(Work work, std::function<absl::Time()> now, absl::Duration interval,
          absl::Duration stuck_after);
  ~Janitor();  // finishes the batch under way

  void Start();
  // There may be space to give back.
  void Wake();
  // Judge this run at `when`, or earlier if that was asked for already.
  void JudgeAt(int64_t run_id, absl::Time when);
  // For how long it has been stuck; zero: it is not.
  absl::Duration StuckFor() const { return pulse_.Overdue(); }

 private:
  void Loop();
  // What is enough to do once an interval.
  void Clean();
  void Reclaim();

  const Work work_;
  const std::function<absl::Time()> now_;
  const absl::Duration interval_, stuck_after_;
  os::Pulse pulse_;

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool awake_ ABSL_GUARDED_BY(mutex_) = true;
  std::map<int64_t, absl::Time> due_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace ckptd
