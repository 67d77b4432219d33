// The line between clients and daemon is cut, stalls, and is half-open.
#include <iostream>

#include <gtest/gtest.h>

#include "tests/crash/process_house.h"
#include "tests/crash/trial.h"

namespace ckpt::crash {
namespace {

using test::LineFault;

TEST(NetworkTest, BrokenLinesLoseNothingAndNothingHappensTwice) {
  Random random(Seed());
  const uint64_t rounds = FromEnvironment("CKPT_CRASH_NETWORK_ROUNDS", 8);
  absl::Mutex mutex;  // of `random`: lines are drawn by the thread of the house's proxy
  ProcessHouse house;
  house.BreakLines([&]() -> LineFault {
    absl::MutexLock lock(&mutex);
    LineFault fault;
    // From the first bytes of a connection to the middle of a push.
    fault.after = Chance(random, 0.5) ? Below(random, 20'000) : Below(random, 12 << 20);
    const double dice = std::uniform_real_distribution<>()(random);
    if (dice < 0.5) {
      fault.kind = LineFault::Kind::kCut;
    } else if (dice < 0.7) {
      fault.kind = LineFault::Kind::kStall;
      fault.lasts = absl::Milliseconds(Below(random, 400));
    } else if (dice < 0.9) {
      fault.kind = LineFault::Kind::kHalf;
      fault.lasts = absl::Milliseconds(Below(random, 400));
    }
    return fault;
  });
  Trial trial(&house, random);
  trial.Run(rounds, [&](uint64_t) {
    uint64_t pause = 0;
    {
      absl::MutexLock lock(&mutex);
      pause = Below(random, 800);
    }
    absl::SleepFor(absl::Milliseconds(200 + pause));
    house.Drain();  // so that no call that a line left behind is still under way
  });
  trial.Finish();
  std::cout << house.line().faults() << " lines broken" << std::endl;
  EXPECT_GE(house.line().faults(), rounds) << "hardly a line broke";
  EXPECT_GE(trial.commits(), rounds / 4) << "hardly anything was pushed";
}

}  // namespace
}  // namespace ckpt::crash
