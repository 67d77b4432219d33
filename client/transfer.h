// What uploads and downloads share: progress and cancelling.
#pragma once

#include <cstdint>
#include <functional>
#include <list>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

namespace ckpt {

struct Progress {
  uint64_t done_bytes = 0;   // over the line so far (a retry sends nothing twice that arrived)
  uint64_t total_bytes = 0;  // to go over the line in all
};
// Called from the transferring thread, about once a chunk. Must be quick.
using ProgressFn = std::function<void(const Progress&)>;

// A request to stop, from any thread to any number of calls. Thread-safe. Must
// outlive the calls that it was given to. Once requested it stays requested.
class Cancel {
 public:
  void Request();
  bool requested() const;
  // Sleeps this long, or until requested: true if requested.
  bool WaitFor(absl::Duration duration) const;

  // Runs `fn` once on Request (at once if it was requested already) for as
  // long as the Scope lives. `fn` must not block and must not call this object.
  class Scope {
   public:
    Scope(Cancel* cancel, std::function<void()> fn);  // nullptr: never runs
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Cancel* cancel_;
    std::list<std::function<void()>>::iterator position_;
  };

 private:
  mutable absl::Mutex mutex_;
  bool requested_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<std::function<void()>> callbacks_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ckpt
