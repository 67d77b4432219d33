#include "tests/bench/goals.h"

#include <algorithm>

#include <fmt/format.h>

#include "tests/bench/rows.h"
#include "tests/bench/training.h"

namespace ckpt::bench {
namespace {

// The fastest of those that leave a durable file.
std::string FastestDurable(const Report& report, const std::string& state) {
  std::string fastest;
  double best = 0;
  for (const char* const name : {kTorchSave, kPythonSave, kRsync, kNginxPut}) {
    const auto summary = report.Find(state, name);
    if (summary && (fastest.empty() || summary->seconds < best)) {
      best = summary->seconds;
      fastest = name;
    }
  }
  return fastest;
}

}  // namespace

std::vector<Goal> Goals(const Report& report, const std::string& state, uint64_t workers_memory) {
  std::vector<Goal> goals;
  const auto add = [&](std::string text, double value, double wanted, bool at_least = true,
                       std::string unit = "") {
    if (value > 0) goals.push_back({std::move(text), value, std::move(unit), wanted, at_least});
  };
  const auto faster = [&](const char* top, const std::string& bottom) {
    return report.TimesAsFast(state, top, bottom);
  };
  add(state + ": durable push, rate over fio's write", faster(kPush, kRawWrite), 0.90);
  const std::string peer = FastestDurable(report, state);
  add(fmt::format("{}: durable push, rate over the fastest durable peer ({})", state, peer),
      faster(kPush, peer), 1.5);
  for (const char* const other : {kTorchSave, kPythonSave, kRsync, kNginxPut}) {
    if (other != peer) {
      add(fmt::format("{}: durable push, rate over {}", state, other), faster(kPush, other), 1.0);
    }
  }
  add(state + ": push with 10 % changed, times as fast as restic",
      report.TimesAsLong(state, kRestic, kPushTenth), 1.0);
  add(state + ": push with 10 % changed, times as fast as borg",
      report.TimesAsLong(state, kBorg, kPushTenth), 1.0);
  add("8 runs push at once, rate over fio's write", faster(kEightPush, kRawWrite), 0);
  add("the daemon's memory while 8 runs push", static_cast<double>(workers_memory) / (1 << 20), 512,
      false, "MiB");

  if (const auto warm = report.Find(state, kFetchWarm)) {
    add(state + ": fetch from page cache", warm->rate(), 2.0, true, "GB/s");
  }
  // 2.0 GB/s where gRPC alone gives 3.
  add(state + ": fetch from page cache, rate over gRPC alone", faster(kFetchWarm, kLoopback),
      2.0 / 3);
  // The lower ceiling is the larger share of it.
  add(state + ": fetch from cold disk, rate over fio's read or gRPC alone, whichever is lower",
      std::max(faster(kFetchCold, kRawRead), faster(kFetchCold, kLoopback)), 0.8);
  add("8 workers fetch at once, sum of rates over that of one", faster(kFetchEight, kFetchOne),
      1.0);
  add("16 workers fetch at once, sum of rates over that of one", faster(kFetchSixteen, kFetchOne),
      1.0);

  const std::string gpt2 = Training::kState;
  add(gpt2 + ": training waits for a save, over one memcpy",
      report.TimesAsLong(gpt2, kStall, kCopy), 1.2, false);
  add(gpt2 + ": training waits for a save, over torch::save + fsync",
      report.TimesAsLong(gpt2, kStall, kTorchSave), 0.1, false);
  add(gpt2 + ": training throughput, a save every 20 steps over none",
      report.TimesAsLong(gpt2, kSteps, kStepsWithSave), 0.97);
  return goals;
}

}  // namespace ckpt::bench
