// The second background hand: has history laid on disk in fewer bytes. This
// class is only about when: a run at a time, at the pace of its Pacer.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <thread>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include "daemon/store/pacer.h"
#include "proto/status.h"

namespace ckptd {

// Thread-safe, Stop and destructor aside.
class Packer {
 public:
  // Packs what has become history of the run. Calls GoOn between any two
  // chunks, and ends at once when that says so.
  using Pack = std::function<absl::Status(int64_t run_id)>;

  // `is_busy`: whether a push is under way. `bytes_per_second` 0: as fast as it
  // can. What failed is tried again after `retry`.
  Packer(Pack pack, std::function<bool()> is_busy, uint64_t bytes_per_second, absl::Duration retry);
  ~Packer() { Stop(); }

  void Start();
  // Ends the chunk under way and then the thread.
  void Stop();
  // Something of this run may have become history. Does nothing where
  // nothing was started.
  void Look(int64_t run_id);

  // For the work: `compute` on the thread of low priority, see Pacer.
  void RunLow(const std::function<void()>& compute) { pacer_.RunLow(compute); }
  // For the work: `bytes` were read and packed since the call before; false: end.
  bool GoOn(uint64_t bytes) { return pacer_.GoOn(bytes); }

 private:
  void Loop();

  const Pack pack_;
  const absl::Duration retry_;
  Pacer pacer_;

  absl::Mutex mutex_;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<int64_t> due_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace ckptd
