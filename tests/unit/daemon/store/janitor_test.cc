// When the janitor counts as stuck, and how often it does what.
#include "daemon/store/janitor.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include <absl/synchronization/notification.h>
#include <gtest/gtest.h>

namespace ckptd {
namespace {

bool Eventually(const std::function<bool()>& done) {
  for (int i = 0; i < 4000 && !done(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return done();
}

// Nothing to do.
Janitor::Work IdleWork() {
  Janitor::Work work;
  work.reclaim = [] { return false; };
  work.drop_uploads = [] { return absl::OkStatus(); };
  work.forget_answers = [] { return absl::OkStatus(); };
  work.keep_journal = [] { return absl::OkStatus(); };
  work.judge = [](int64_t) { return absl::OkStatus(); };
  return work;
}

TEST(JanitorTest, IsStuckWhileAPieceOfWorkDoesNotEnd) {
  absl::Notification go_on;
  std::atomic<int> rounds = 0;
  Janitor::Work work = IdleWork();
  work.drop_uploads = [&] {
    ++rounds;
    return absl::OkStatus();
  };
  work.judge = [&](int64_t) {
    go_on.WaitForNotification();
    return absl::OkStatus();
  };
  Janitor janitor(
      std::move(work), [] { return absl::Now(); }, absl::Milliseconds(3), absl::Seconds(1));
  EXPECT_EQ(janitor.StuckFor(), absl::ZeroDuration()) << "it has not been started";
  janitor.Start();
  // Work that takes a while in all is not one piece.
  ASSERT_TRUE(Eventually([&] { return rounds > 100; }));
  EXPECT_EQ(janitor.StuckFor(), absl::ZeroDuration());

  janitor.JudgeAt(1, absl::InfinitePast());
  EXPECT_TRUE(Eventually([&] { return janitor.StuckFor() > absl::ZeroDuration(); }));
  go_on.Notify();
  EXPECT_TRUE(Eventually([&] { return janitor.StuckFor() == absl::ZeroDuration(); }));
}

TEST(JanitorTest, LooksThroughTheOpenUploadsOnceAnIntervalHoweverOftenItIsWoken) {
  std::atomic<int> reclaims = 0, looks = 0;
  Janitor::Work work = IdleWork();
  work.reclaim = [&] {
    ++reclaims;
    return false;
  };
  work.drop_uploads = [&] {
    ++looks;
    return absl::OkStatus();
  };
  Janitor janitor(std::move(work), [] { return absl::Now(); }, absl::Hours(1), absl::Hours(1));
  janitor.Start();
  EXPECT_TRUE(Eventually([&] {
    janitor.Wake();
    return reclaims > 20;
  }));
  EXPECT_EQ(looks, 1);
}

}  // namespace
}  // namespace ckptd
