// Who is reading which checkpoint right now. A leased checkpoint's space is not
// given back. Leases do not survive the daemon: neither do the streams that
// hold them. (Resume tickets, which do, are in the catalog.)
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

namespace ckptd {

class Leases;

// Held for as long as it lives. Must not outlive its Leases.
class Lease {
 public:
  Lease() = default;
  Lease(Leases* leases, uint64_t checkpoint_id) : leases_(leases), id_(checkpoint_id) {}
  Lease(Lease&& other) noexcept
      : leases_(std::exchange(other.leases_, nullptr)), id_(other.id_) {}
  Lease& operator=(Lease&& other) noexcept {
    std::swap(leases_, other.leases_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~Lease();

 private:
  Leases* leases_ = nullptr;
  uint64_t id_ = 0;
};

// Thread-safe.
class Leases {
 public:
  // `released` is called, without a lock held, when a checkpoint's last lease ends.
  explicit Leases(std::function<void(uint64_t checkpoint_id)> released)
      : released_(std::move(released)) {}

  Lease Acquire(uint64_t checkpoint_id);
  bool IsLeased(uint64_t checkpoint_id) const;
  // Whether anybody reads anything.
  bool IsAnyLeased() const;

 private:
  friend class Lease;
  void Release(uint64_t checkpoint_id);

  const std::function<void(uint64_t)> released_;
  mutable absl::Mutex mutex_;
  std::map<uint64_t, int> counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ckptd
