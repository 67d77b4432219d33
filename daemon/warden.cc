#include "daemon/warden.h"

#include <systemd/sd-daemon.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include <absl/strings/str_join.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace ckptd {
namespace {

constexpr absl::Duration kTick = absl::Seconds(1);
// While draining: how soon it is seen that all has ended, and how often is said
// what has not.
constexpr absl::Duration kDrainTick = absl::Milliseconds(50);
constexpr absl::Duration kSayEvery = absl::Seconds(5);
// Ends are seen twice in a row, so that who finished a stream can come to commit.
constexpr int kQuietTicks = 2;

std::string Rounded(absl::Duration duration) {
  return absl::FormatDuration(absl::Ceil(duration, absl::Seconds(1)));
}

}  // namespace

Warden::Warden(const Config& config, Store* store, Server* server)
    : drain_timeout_(config.drain_timeout),
      stuck_after_(config.stuck_after),
      store_(store),
      server_(server),
      tick_(kTick) {
  pulse_.Promise(stuck_after_);
  uint64_t microseconds = 0;
  watched_ = sd_watchdog_enabled(0, &microseconds) > 0;
  // Three times in what systemd allows, so that one may be late.
  if (watched_) {
    tick_ = std::min(tick_, absl::Microseconds(static_cast<int64_t>(microseconds)) / 3);
  }
  Look();
}

void Warden::Watch(const sigset_t& signals, const std::function<void()>& reload) {
  for (;;) {
    const int received = NextSignal(signals, tick_);
    if (received == 0) {
      Look();
    } else if (received == SIGHUP) {
      sd_notify(0, "RELOADING=1");
      reload();
      sd_notify(0, "READY=1");
    } else {
      spdlog::info("{} received: draining for up to {}", strsignal(received),
                   absl::FormatDuration(drain_timeout_));
      return;
    }
  }
}

int Warden::NextSignal(const sigset_t& signals, absl::Duration timeout) {
  pulse_.Promise(timeout + stuck_after_);
  const timespec wait = absl::ToTimespec(timeout);
  const int received = sigtimedwait(&signals, nullptr, &wait);
  pulse_.Promise(stuck_after_);
  return std::max(received, 0);  // none came, or a debugger interrupted
}

void Warden::Look() {
  const Store::Health health = store_->GetHealth();
  server_->SetHealth(health.live, health.ready);
  // A sentence may have figures that change all the time: only whether it is ready
  // is news.
  const std::string problems = absl::StrJoin(health.problems, "; ");
  if (!problems.empty() && problems_.empty()) spdlog::warn("not ready: {}", problems);
  if (problems.empty() && !problems_.empty()) spdlog::info("ready again");
  problems_ = problems;
  if (!problems.empty()) return Report("not ready: " + problems, health.live);
  const Store::Load load = store_->GetLoad();
  Report(fmt::format("ready; {} uploads open, {} calls and {} chunk streams under way",
                     load.open_uploads, server_->calls(), server_->streams()),
         health.live);
}

void Warden::Report(const std::string& status, bool live) {
  std::string text = "STATUS=" + status;
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (watched_ && live) text += "\nWATCHDOG=1";
  sd_notify(0, text.c_str());
}

std::string Warden::UnderWay() {
  const Store::Load load = store_->GetLoad();
  std::vector<std::string> parts;
  if (load.active_uploads > 0) {
    parts.push_back(fmt::format("{} uploads ({})", load.active_uploads, load.oldest_active));
  }
  if (const int calls = server_->calls(); calls > 0)
    parts.push_back(fmt::format("{} calls", calls));
  if (const int streams = server_->streams(); streams > 0) {
    parts.push_back(fmt::format("{} chunk streams", streams));
  }
  return absl::StrJoin(parts, ", ");
}

void Warden::Drain(const sigset_t& signals) {
  store_->Drain();
  server_->SetHealth(/*live=*/true, /*ready=*/false);
  // systemd would kill what takes longer to stop than the unit says.
  sd_notifyf(0, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld",
             static_cast<long long>(absl::ToInt64Microseconds(drain_timeout_ + stuck_after_)));
  const Stopwatch watch;
  absl::Duration say_at, report_at;
  for (int quiet = 0; quiet < kQuietTicks;) {
    const absl::Duration left = drain_timeout_ - watch.Elapsed();
    const std::string under_way = UnderWay();
    quiet = under_way.empty() ? quiet + 1 : 0;
    if (left <= absl::ZeroDuration()) {
      if (!under_way.empty()) spdlog::warn("drained for long enough; cut off: {}", under_way);
      break;
    }
    if (!under_way.empty() && watch.Elapsed() >= say_at) {
      spdlog::info("draining: waiting for {}; {} left", under_way, Rounded(left));
      say_at = watch.Elapsed() + kSayEvery;
    }
    if (watch.Elapsed() >= report_at) {
      Report(fmt::format("draining: waiting for {}", under_way), store_->GetHealth().live);
      report_at = watch.Elapsed() + tick_;
    }
    const int received = NextSignal(signals, std::min(left, kDrainTick));
    if (received == SIGTERM || received == SIGINT) {
      spdlog::warn("{} received again: cutting off what is under way", strsignal(received));
      return server_->Drain(absl::ZeroDuration());
    }
  }
  server_->Drain(std::max(drain_timeout_ - watch.Elapsed(), absl::ZeroDuration()));
}

}  // namespace ckptd
