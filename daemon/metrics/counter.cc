#include "daemon/metrics/counter.h"

#include <algorithm>

namespace ckptd {

Histogram::Histogram(std::span<const double> bounds)
    : bounds_(bounds), counts_(bounds.size() + 1) {}

void Histogram::Observe(absl::Duration duration) {
  const int64_t nanoseconds = std::max<int64_t>(absl::ToInt64Nanoseconds(duration), 0);
  const double seconds = static_cast<double>(nanoseconds) / 1e9;
  const auto bucket = std::ranges::lower_bound(bounds_, seconds) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  nanoseconds_.fetch_add(static_cast<uint64_t>(nanoseconds), std::memory_order_relaxed);
}

Histogram::Snapshot Histogram::Get() const {
  Snapshot snapshot;
  for (size_t i = 0; i < bounds_.size(); ++i) {
    snapshot.count += counts_[i].load(std::memory_order_relaxed);
    snapshot.buckets.push_back({bounds_[i], snapshot.count});
  }
  snapshot.count += counts_.back().load(std::memory_order_relaxed);
  snapshot.seconds = static_cast<double>(nanoseconds_.load(std::memory_order_relaxed)) / 1e9;
  return snapshot;
}

}  // namespace ckptd
