// When and how often a failed call is tried again.
//
// Every call of ckpt.v1 can be made again (service.proto), so what decides is
// only whether the failure may pass by itself: a daemon that restarts, drains
// or cannot be reached. Backoff is exponential with full jitter: uniform in
// [0, ceiling], the ceiling doubling from initial_backoff to max_backoff.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include <absl/time/time.h>

#include "client/transfer.h"
#include "proto/status.h"

namespace ckpt {

struct RetryOptions {
  absl::Duration initial_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(5);
  // No try begins later than this after the first failure without progress
  // since. Zero: never try again.
  absl::Duration window = absl::Minutes(5);
};

// Time and randomness, so that tests can bring their own. Thread-safe.
struct RetryWorld {
  std::function<absl::Time()> now;
  // Waits, or less when `cancel` (may be null) is requested.
  std::function<void(absl::Duration, const Cancel*)> sleep;
  std::function<double()> uniform;      // [0, 1)
  std::function<std::string()> new_id;  // of a call: never the same again

  static RetryWorld Real();
};

// Whether another try may succeed: UNAVAILABLE and what carries the reason
// DRAINING; and, as they come from a line that broke and not from the daemon
// (no reason), DEADLINE_EXCEEDED, CANCELLED, INTERNAL, UNKNOWN, ABORTED and, but for
// a message that is too large, RESOURCE_EXHAUSTED.
bool IsRetryable(const absl::Status& status);

// One operation's tries. One thread.
class Retry {
 public:
  Retry(RetryOptions options, const RetryWorld& world, const Cancel* cancel = nullptr);

  // After a failed try: waits and says true when another is due; false when
  // `status` will not pass, the window has ended, or it was cancelled.
  bool Again(const absl::Status& status);
  // The same for a failure that the caller knows to be worth another try.
  bool AgainAnyway();
  // Something was achieved: backoff and window begin anew.
  void Progressed();
  // The failed try may have achieved something, and only the daemon can tell: the
  // window begins anew until it could be asked.
  void MayHaveProgressed();
  // What it said. False when nothing was achieved and the window had ended before.
  bool Judge(bool progressed);

  int tries() const { return tries_; }  // failures so far

 private:
  RetryOptions options_;
  const RetryWorld& world_;
  const Cancel* cancel_;
  absl::Time window_ends_ = absl::InfiniteFuture();
  // Where it was to end before the tries that may have achieved something.
  std::optional<absl::Time> judged_end_;
  absl::Duration ceiling_;
  int tries_ = 0;
};

// Calls `call` (a function giving absl::Status) until it succeeds or is not
// worth another try; the last status.
template <typename Call>
absl::Status CallWithRetry(const RetryOptions& options, const RetryWorld& world, Call&& call,
                           const Cancel* cancel = nullptr) {
  Retry retry(options, world, cancel);
  while (true) {
    absl::Status status = call();
    if (status.ok() || !retry.Again(status)) return status;
  }
}

}  // namespace ckpt
