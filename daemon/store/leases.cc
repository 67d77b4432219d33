#include "daemon/store/leases.h"

namespace ckptd {

Lease::~Lease() {
  if (leases_ != nullptr) leases_->Release(id_);
}

Lease Leases::Acquire(uint64_t checkpoint_id) {
  absl::MutexLock lock(&mutex_);
  ++counts_[checkpoint_id];
  return {this, checkpoint_id};
}

bool Leases::IsLeased(uint64_t checkpoint_id) const {
  absl::MutexLock lock(&mutex_);
  return counts_.contains(checkpoint_id);
}

bool Leases::IsAnyLeased() const {
  absl::MutexLock lock(&mutex_);
  return !counts_.empty();
}

void Leases::Release(uint64_t checkpoint_id) {
  {
    absl::MutexLock lock(&mutex_);
    auto it = counts_.find(checkpoint_id);
    if (--it->second > 0) return;
    counts_.erase(it);
  }
  released_(checkpoint_id);
}

}  // namespace ckptd
