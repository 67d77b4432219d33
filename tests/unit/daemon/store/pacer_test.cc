// When background work may go on.
#include "daemon/store/pacer.h"

#include <atomic>

#include <gtest/gtest.h>

namespace ckptd {
namespace {

TEST(PacerTest, GoesOnWhileNobodyIsInTheWay) {
  Pacer pacer([] { return false; }, {});
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(pacer.GoOn(1 << 30));
  pacer.Stop();
  EXPECT_FALSE(pacer.GoOn(0));
  EXPECT_FALSE(pacer.Sleep(absl::Hours(1)));
}

TEST(PacerTest, WaitsAsLongAsSomebodyIs) {
  std::atomic<int> asked = 0;
  Pacer pacer([&] { return ++asked < 5; }, {});
  EXPECT_TRUE(pacer.GoOn(0));
  EXPECT_EQ(asked, 5);
}

TEST(PacerTest, WhoIsInTheWayForTooLongStopsNothing) {
  Pacer pacer([] { return true; }, {.patience = absl::Milliseconds(1)});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(pacer.GoOn(0));
}

TEST(PacerTest, ItsEndEndsEachWait) {
  for (const bool is_busy : {false, true}) {
    // Too fast by a year, or somebody is in the way for ever.
    Pacer pacer([&] { return is_busy; }, {.bytes_per_second = 1});
    std::thread worker([&] { EXPECT_FALSE(pacer.GoOn(365 * 86400)); });
    pacer.Stop();
    worker.join();
  }
}

TEST(PacerTest, ComputesOnAThreadOfItsOwn) {
  Pacer pacer([] { return false; }, {});
  pacer.Start();
  std::thread::id first, second;
  pacer.RunLow([&] { first = std::this_thread::get_id(); });
  pacer.RunLow([&] { second = std::this_thread::get_id(); });
  EXPECT_EQ(first, second);
  EXPECT_NE(first, std::this_thread::get_id());
  EXPECT_NE(first, std::thread::id());
}

}  // namespace
}  // namespace ckptd
