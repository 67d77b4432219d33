#include "client/transfer.h"

#include <utility>

namespace ckpt {

void Cancel::Request() {
  absl::MutexLock lock(&mutex_);
  if (requested_) return;
  requested_ = true;
  // Under the lock: a Scope that ends waits until its function has run.
  for (const auto& callback : callbacks_) callback();
}

bool Cancel::requested() const {
  absl::MutexLock lock(&mutex_);
  return requested_;
}

bool Cancel::WaitFor(absl::Duration duration) const {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&requested_), duration);
}

Cancel::Scope::Scope(Cancel* cancel, std::function<void()> fn) : cancel_(cancel) {
  if (cancel_ == nullptr) return;
  absl::MutexLock lock(&cancel_->mutex_);
  if (cancel_->requested_) fn();
  position_ = cancel_->callbacks_.insert(cancel_->callbacks_.end(), std::move(fn));
}

Cancel::Scope::~Scope() {
  if (cancel_ == nullptr) return;
  absl::MutexLock lock(&cancel_->mutex_);
  cancel_->callbacks_.erase(position_);
}

}  // namespace ckpt
