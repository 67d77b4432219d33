// Each operation on the disk in a run of pushes, commits and prunes fails once,
// and the power goes before each.
#include <cerrno>
#include <functional>
#include <iostream>

#include <gtest/gtest.h>

#include "tests/crash/checks.h"
#include "tests/crash/scenario.h"
#include "tests/crash/simulated_house.h"
#include "tests/crash/trial.h"

namespace ckpt::crash {
namespace {

// Plays the scenario for every so many-th operation, beginning at one that the
// seed says, until it gets by without coming to that. `play` says whether it did,
// and leaves the daemon down.
void ForEveryOperation(uint64_t seed,
                       const std::function<bool(SimulatedHouse&, Scenario&, uint64_t at)>& play) {
  const uint64_t stride = FromEnvironment("CKPT_CRASH_STRIDE", 40);
  uint64_t played = 0;
  bool more = true;
  for (uint64_t at = 1 + seed % stride; more && !testing::Test::HasFailure(); at += stride) {
    SCOPED_TRACE(testing::Message() << "operation " << at);
    SimulatedHouse house;
    Scenario scenario(7);
    more = play(house, scenario, at);
    ASSERT_TRUE(house.Start());
    scenario.Check(house);
    played += more;
  }
  std::cout << played << " of " << played * stride << " operations" << std::endl;
  EXPECT_GE(played * stride, 150u) << "hardly anything was done";
}

class EveryOperationTest : public testing::TestWithParam<int> {};

TEST_P(EveryOperationTest, MayFail) {
  ForEveryOperation(Seed(), [](SimulatedHouse& house, Scenario& scenario, uint64_t at) {
    house.disk().FailNth(at, GetParam());
    if (house.Start()) {
      // It fails where it may.
      scenario.Play(*Connect(house.address(), Patience::kNone)).IgnoreError();
    }
    const bool reached = house.disk().operations() >= at;
    house.disk().FailNoMore();
    house.Drain();
    return reached;
  });
}

TEST(EveryOperationPowerTest, MayBeTheOneBeforeWhichThePowerGoes) {
  Random random(Seed());
  ForEveryOperation(random(), [&](SimulatedHouse& house, Scenario& scenario, uint64_t at) {
    const auto play = [&] {
      scenario.Play(*Connect(house.address(), Patience::kNone)).IgnoreError();
    };
    return house.StartAndCutPower(at, play, random);
  });
}

INSTANTIATE_TEST_SUITE_P(Errors, EveryOperationTest, testing::Values(EIO, ENOSPC),
                         [](const auto& info) { return info.param == EIO ? "EIO" : "ENOSPC"; });

}  // namespace
}  // namespace ckpt::crash
