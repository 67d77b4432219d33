// The disk under a daemon at work: full and freed again, failing now and then,
// and rotten.
#include <cerrno>

#include <gtest/gtest.h>

#include "tests/crash/checks.h"
#include "tests/crash/simulated_house.h"
#include "tests/crash/trial.h"

namespace ckpt::crash {
namespace {

TEST(DiskTest, FullAndFreedAgainLosesNothing) {
  Random random(Seed());
  const uint64_t rounds = FromEnvironment("CKPT_CRASH_FULL_DISKS", 8);
  SimulatedHouse house;
  Trial trial(&house, random);
  house.Tolerate({reason::kNoSpace});
  trial.Run(rounds, [&](uint64_t round) {
    uint64_t used = 0;
    for (const auto& file : house.disk().Files()) used += file.allocated;
    // From not a block to a few uploads.
    house.disk().SetCapacity(used + Below(random, 24 << 20));
    absl::SleepFor(absl::Milliseconds(200 + Below(random, 300)));
    house.disk().SetCapacity(std::nullopt);
    // Mostly it goes on as it is; sometimes it has to start on what it left.
    if (round % 5 == 0) house.Drain();
  });
  trial.Finish();
  EXPECT_GE(trial.commits(), rounds / 4) << "hardly anything was pushed";
}

TEST(DiskTest, FailuresOfSingleOperationsLoseNothing) {
  Random random(Seed());
  const uint64_t rounds = FromEnvironment("CKPT_CRASH_DISK_FAILURES", 20);
  SimulatedHouse house;
  Trial trial(&house, random);
  house.Tolerate({reason::kNoSpace, reason::kIoError});
  trial.Run(rounds, [&](uint64_t) {
    // One, or a few in a row.
    for (uint64_t at = 1 + Below(random, 300), more = Below(random, 4), i = 0; i <= more; ++i) {
      house.disk().FailNth(at + i, Chance(random, 0.7) ? EIO : ENOSPC);
    }
    absl::SleepFor(absl::Milliseconds(150));
    house.disk().FailNoMore();  // nor while the test looks at what became of it
    // What was not synced for want of a working disk shows at the next power cut.
    if (Chance(random, 0.5)) house.CutPower(1 + Below(random, 100), absl::Milliseconds(200), random);
  });
  trial.Finish();
  EXPECT_GE(trial.commits(), rounds / 4) << "hardly anything was pushed";
}

}  // namespace
}  // namespace ckpt::crash
