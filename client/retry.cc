#include "client/retry.h"

#include <algorithm>
#include <random>

#include <absl/time/clock.h>

namespace ckpt {

RetryWorld RetryWorld::Real() {
  return {
      .now = [] { return absl::Now(); },
      .sleep =
          [](absl::Duration duration, const Cancel* cancel) {
            if (cancel != nullptr) {
              cancel->WaitFor(duration);
            } else {
              absl::SleepFor(duration);
            }
          },
      .uniform =
          [] {
            thread_local std::mt19937_64 generator(std::random_device{}());
            return std::uniform_real_distribution<double>(0, 1)(generator);
          },
      .new_id =
          [] {
            std::random_device random;  // 32 bits a time
            return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
          },
  };
}

bool IsRetryable(const absl::Status& status) {
  const std::string why = ReasonOf(status);
  if (why == reason::kDraining) return true;
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return true;
    // The daemon gives every failure of its own a reason: without one these
    // come from a line that broke in mid-call.
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kAborted:
      return why.empty();
    // The daemon's gRPC had no memory for a moment, and ended calls to get some. But
    // a message that is too large will be so the next time, too.
    case absl::StatusCode::kResourceExhausted:
      return why.empty() &&
             std::string(status.message()).find("larger than max") == std::string::npos;
    default:
      return false;
  }
}

Retry::Retry(RetryOptions options, const RetryWorld& world, const Cancel* cancel)
    : options_(options), world_(world), cancel_(cancel), ceiling_(options.initial_backoff) {}

bool Retry::Again(const absl::Status& status) { return IsRetryable(status) && AgainAnyway(); }

bool Retry::AgainAnyway() {
  ++tries_;
  if (cancel_ != nullptr && cancel_->requested()) return false;
  const absl::Time now = world_.now();
  if (window_ends_ == absl::InfiniteFuture()) window_ends_ = now + options_.window;
  if (now >= window_ends_) return false;
  const absl::Duration wait = std::min(ceiling_ * world_.uniform(), window_ends_ - now);
  ceiling_ = std::min(ceiling_ * 2, options_.max_backoff);
  world_.sleep(wait, cancel_);
  return cancel_ == nullptr || !cancel_->requested();
}

void Retry::Progressed() {
  judged_end_.reset();
  window_ends_ = absl::InfiniteFuture();
  ceiling_ = options_.initial_backoff;
}

void Retry::MayHaveProgressed() {
  if (judged_end_.has_value()) return;
  judged_end_ = window_ends_;
  window_ends_ = absl::InfiniteFuture();
}

bool Retry::Judge(bool progressed) {
  if (progressed) Progressed();
  if (!judged_end_.has_value()) return true;
  window_ends_ = std::min(window_ends_, *judged_end_);
  judged_end_.reset();
  return world_.now() < window_ends_;
}

}  // namespace ckpt
