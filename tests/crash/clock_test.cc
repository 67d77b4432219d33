// The clock jumps, forwards and back, under a daemon at work.
#include <gtest/gtest.h>

#include "tests/crash/simulated_house.h"
#include "tests/crash/trial.h"

namespace ckpt::crash {
namespace {

TEST(ClockTest, JumpsRemoveNothingAndHoldNothingUp) {
  Random random(Seed());
  const uint64_t rounds = FromEnvironment("CKPT_CRASH_CLOCK_JUMPS", 8);
  SimulatedHouse house;
  Trial trial(&house, random);
  trial.Run(rounds, [&](uint64_t round) {
    for (int jump = 0; jump < 4; ++jump) {
      // Less than answers are remembered and unfinished uploads are kept.
      house.clock().SetWrongBy(absl::Hours(10) * std::uniform_real_distribution<>(-1, 1)(random));
      absl::SleepFor(absl::Milliseconds(60));
    }
    if (round % 4 == 0) house.Drain();
  });
  trial.Finish();
  EXPECT_GE(trial.commits(), rounds / 4) << "hardly anything was pushed";
}

}  // namespace
}  // namespace ckpt::crash
