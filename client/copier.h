// Copies state into the staging buffer: what training waits for.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include <absl/synchronization/mutex.h>

namespace ckpt {

struct CopyPiece {
  const void* from = nullptr;
  void* to = nullptr;
  size_t size = 0;
};

// As memcpy, but past the caches where there is much: for a target that is not
// read again soon.
void CopyBytes(std::byte* to, const std::byte* from, size_t size);

// Keeps its threads between copies. Thread-safe; copies of several callers
// follow each other.
class Copier {
 public:
  // Copies with `threads` threads, the caller's included.
  explicit Copier(int threads) : threads_(threads) {}
  ~Copier();
  Copier(const Copier&) = delete;
  Copier& operator=(const Copier&) = delete;

  // Copies all `pieces`, none of which overlaps another's target. `first` runs
  // on the caller's thread, while the others copy.
  void Copy(std::span<const CopyPiece> pieces, const std::function<void()>& first = nullptr);

 private:
  class Job;
  void Help();

  const int threads_;
  absl::Mutex one_at_a_time_ ABSL_ACQUIRED_BEFORE(mutex_);
  absl::Mutex mutex_;
  Job* job_ ABSL_GUARDED_BY(mutex_) = nullptr;
  size_t number_ ABSL_GUARDED_BY(mutex_) = 0;   // of the newest job
  size_t helping_ ABSL_GUARDED_BY(mutex_) = 0;  // threads that are at work on it
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> helpers_ ABSL_GUARDED_BY(one_at_a_time_);
};

}  // namespace ckpt
