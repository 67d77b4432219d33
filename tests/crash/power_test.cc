// The machine goes off: under a daemon at work, at any operation on its disk,
// and while it recovers.
#include <gtest/gtest.h>

#include "tests/crash/simulated_house.h"
#include "tests/crash/trial.h"

namespace ckpt::crash {
namespace {

constexpr uint64_t kDefaultCuts = 60;
// A round's operations on the disk, about; beyond them the power goes when idle.
constexpr uint64_t kOperations = 600;

TEST(PowerTest, KeepsWhatItAcknowledgedAndNothingElse) {
  Random random(Seed());
  const uint64_t cuts = FromEnvironment("CKPT_CRASH_POWER_CUTS", kDefaultCuts);
  SimulatedHouse house;
  Trial trial(&house, random);
  trial.Run(cuts, [&](uint64_t) {
    house.CutPower(1 + Below(random, kOperations), absl::Milliseconds(500), random);
    // Recovery is interrupted, too; that comes on top.
    while (Chance(random, 0.2)) house.StartAndCutPower(1 + Below(random, 60), [] {}, random);
  });
  trial.Finish();
  EXPECT_GE(trial.commits(), cuts / 4) << "hardly anything was pushed";
}

}  // namespace
}  // namespace ckpt::crash
