// Numbers that many threads add to and one reads now and then. Relaxed: each is
// right by itself, two of them need not be of the same moment.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include <absl/time/time.h>

namespace ckptd {

// Thread-safe; never goes down.
class Counter {
 public:
  void Add(uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_ = 0;
};

// By the clock that nobody sets.
class Stopwatch {
 public:
  absl::Duration Elapsed() const {
    return absl::FromChrono(std::chrono::steady_clock::now() - started_);
  }

 private:
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

// How often something took how long. Thread-safe, takes no lock.
class Histogram {
 public:
  // `bounds`: the buckets' upper ends in seconds, ascending; they must outlive
  // it. What takes longer than the last is counted as well.
  explicit Histogram(std::span<const double> bounds);

  void Observe(absl::Duration duration);

  struct Bucket {
    double upper_bound = 0;
    uint64_t count = 0;  // in this one and all below
  };
  struct Snapshot {
    std::vector<Bucket> buckets;
    uint64_t count = 0;
    double seconds = 0;  // all together
  };
  Snapshot Get() const;

 private:
  const std::span<const double> bounds_;
  std::vector<std::atomic<uint64_t>> counts_;  // one more than bounds
  std::atomic<uint64_t> nanoseconds_ = 0;
};

}  // namespace ckptd
