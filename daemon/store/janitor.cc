#include "daemon/store/janitor.h"

#include <chrono>
#include <string>
#include <vector>

#include <spdlog/spdlog.h>

#include "daemon/os/thread.h"

namespace ckptd {
namespace {

// Of the runs that are due so many are judged before space is given back again:
// after a start all are due.
constexpr size_t kRunsAtOnce = 64;

}  // namespace

Janitor::Janitor(Work work, std::function<absl::Time()> now, absl::Duration interval,
                 absl::Duration stuck_after)
    : work_(std::move(work)),
      now_(std::move(now)),
      interval_(interval),
      stuck_after_(stuck_after) {}

Janitor::~Janitor() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void Janitor::Start() {
  pulse_.Promise(stuck_after_);
  thread_ = std::thread([this] {
    os::NameThread("janitor");
    Loop();
  });
}

void Janitor::Wake() {
  absl::MutexLock lock(&mutex_);
  awake_ = true;
}

void Janitor::JudgeAt(int64_t run_id, absl::Time when) {
  absl::MutexLock lock(&mutex_);
  auto [it, inserted] = due_.emplace(run_id, when);
  if (!inserted && when < it->second) it->second = when;
}

void Janitor::Reclaim() {
  for (;;) {
    pulse_.Promise(stuck_after_);
    absl::StatusOr<bool> more = work_.reclaim();
    if (!more.ok()) {
      spdlog::warn("giving space back failed, will be tried again: {}",
                   std::string(more.status().message()));
      return;
    }
    if (!*more) return;
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
  }
}

void Janitor::Clean() {
  pulse_.Promise(stuck_after_);
  if (absl::Status status = work_.drop_uploads(); !status.ok()) {
    spdlog::warn("dropping unfinished uploads failed: {}", std::string(status.message()));
  }
  if (absl::Status status = work_.forget_answers(); !status.ok()) {
    spdlog::warn("forgetting old answers failed: {}", std::string(status.message()));
  }
}

void Janitor::Loop() {
  // Every commit wakes the janitor, and each open upload is asked for here.
  std::chrono::steady_clock::time_point next_cleaning;
  for (;;) {
    std::vector<int64_t> due;
    pulse_.Promise(interval_ + stuck_after_);
    {
      absl::MutexLock lock(&mutex_);
      auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return awake_ || stopping_; };
      mutex_.AwaitWithTimeout(absl::Condition(&ready), interval_);
      if (stopping_) return;
      awake_ = false;
      absl::Time now = now_();
      for (auto it = due_.begin(); it != due_.end() && !awake_;) {
        if (it->second <= now) {
          due.push_back(it->first);
          it = due_.erase(it);
          awake_ = due.size() == kRunsAtOnce;  // there may be more
        } else {
          ++it;
        }
      }
    }
    for (int64_t run_id : due) {
      pulse_.Promise(stuck_after_);
      if (absl::Status status = work_.judge(run_id); !status.ok()) {
        spdlog::warn("judging run {} failed, will be tried again: {}", run_id,
                     std::string(status.message()));
        JudgeAt(run_id, now_() + interval_);
      }
    }
    if (const auto at = std::chrono::steady_clock::now(); at >= next_cleaning) {
      next_cleaning = at + absl::ToChronoNanoseconds(interval_);
      Clean();
    }
    Reclaim();
    if (absl::Status status = work_.keep_journal(); !status.ok()) {
      spdlog::warn("a snapshot of the catalog failed, will be tried again: {}",
                   std::string(status.message()));
    }
  }
}

}  // namespace ckptd
