#include "client/retry.h"

#include <gtest/gtest.h>

namespace ckpt {
namespace {

// A clock that moves only when somebody sleeps.
struct FakeWorld {
  absl::Time now = absl::UnixEpoch();
  std::vector<absl::Duration> sleeps;
  double random = 1;

  RetryWorld world() {
    return {.now = [this] { return now; },
            .sleep =
                [this](absl::Duration duration, const Cancel*) {
                  sleeps.push_back(duration);
                  now += duration;
                },
            .uniform = [this] { return random; }};
  }
};

TEST(IsRetryable, DependsOnCodeAndReason) {
  struct {
    absl::StatusCode code;
    const char* reason;  // null: from gRPC itself
    bool retryable;
  } const kCases[] = {
      {absl::StatusCode::kUnavailable, nullptr, true},
      {absl::StatusCode::kUnavailable, reason::kDraining, true},
      {absl::StatusCode::kFailedPrecondition, reason::kDraining, true},
      {absl::StatusCode::kDeadlineExceeded, nullptr, true},
      {absl::StatusCode::kInternal, nullptr, true},
      {absl::StatusCode::kInternal, reason::kInternal, false},
      {absl::StatusCode::kUnknown, nullptr, true},
      {absl::StatusCode::kCancelled, nullptr, true},
      {absl::StatusCode::kAborted, nullptr, true},
      {absl::StatusCode::kAborted, reason::kPolicyChanged, false},
      {absl::StatusCode::kInvalidArgument, reason::kBadField, false},
      {absl::StatusCode::kInvalidArgument, nullptr, false},
      {absl::StatusCode::kNotFound, reason::kRunNotFound, false},
      {absl::StatusCode::kAlreadyExists, reason::kStepContentDiffers, false},
      {absl::StatusCode::kFailedPrecondition, reason::kAttemptFenced, false},
      {absl::StatusCode::kResourceExhausted, reason::kNoSpace, false},
      {absl::StatusCode::kResourceExhausted, reason::kQuotaExceeded, false},
      {absl::StatusCode::kResourceExhausted, nullptr, true},
      {absl::StatusCode::kDataLoss, reason::kChunkDamaged, false},
      {absl::StatusCode::kUnimplemented, nullptr, false},
      {absl::StatusCode::kPermissionDenied, nullptr, false},
  };
  for (const auto& c : kCases) {
    const absl::Status status =
        c.reason == nullptr ? absl::Status(c.code, "x") : MakeError(c.code, c.reason, "x");
    EXPECT_EQ(IsRetryable(status), c.retryable) << status;
  }
  EXPECT_FALSE(IsRetryable(
      absl::ResourceExhaustedError("Received message larger than max (70000000 vs. 67108864)")));
}

TEST(Retry, DoublesTheCeilingUpToTheLargest) {
  FakeWorld fake;
  const RetryWorld world = fake.world();
  Retry retry({.initial_backoff = absl::Seconds(1),
               .max_backoff = absl::Seconds(5),
               .window = absl::Minutes(1)},
              world);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(retry.Again(absl::UnavailableError("x")));
  EXPECT_EQ(fake.sleeps,
            (std::vector<absl::Duration>{absl::Seconds(1), absl::Seconds(2), absl::Seconds(4),
                                         absl::Seconds(5), absl::Seconds(5)}));
}

TEST(Retry, JitterTakesAnyPartOfTheCeiling) {
  for (const double random : {0.0, 0.25, 0.999}) {
    FakeWorld fake;
    fake.random = random;
    const RetryWorld world = fake.world();
    Retry retry({.initial_backoff = absl::Seconds(8), .max_backoff = absl::Seconds(8)}, world);
    ASSERT_TRUE(retry.AgainAnyway());
    EXPECT_EQ(fake.sleeps.front(), absl::Seconds(8) * random);
  }
}

TEST(Retry, EndsWithTheWindow) {
  FakeWorld fake;
  const RetryWorld world = fake.world();
  int calls = 0;
  const absl::Status status = CallWithRetry({.initial_backoff = absl::Seconds(1),
                                             .max_backoff = absl::Seconds(100),
                                             .window = absl::Seconds(10)},
                                            world, [&] {
                                              ++calls;
                                              return absl::UnavailableError("x");
                                            });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  // 1 + 2 + 4, and the last wait is cut to the window's end.
  EXPECT_EQ(fake.now - absl::UnixEpoch(), absl::Seconds(10));
  EXPECT_EQ(calls, 5);
}

TEST(Retry, ZeroWindowNeverTriesAgain) {
  FakeWorld fake;
  const RetryWorld world = fake.world();
  Retry retry({.window = absl::ZeroDuration()}, world);
  EXPECT_FALSE(retry.Again(absl::UnavailableError("x")));
}

TEST(Retry, ProgressBeginsTheWindowAndTheBackoffAnew) {
  FakeWorld fake;
  const RetryWorld world = fake.world();
  Retry retry({.initial_backoff = absl::Seconds(6),
               .max_backoff = absl::Seconds(60),
               .window = absl::Seconds(10)},
              world);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(retry.Again(absl::UnavailableError("x"))) << i;
    retry.Progressed();
  }
  EXPECT_EQ(fake.sleeps.back(), absl::Seconds(6));
}

// What a broken stream achieved is known only once the daemon answers again.
TEST(Retry, TheWindowBeginsAnewUntilWhatMayHaveBeenAchievedIsJudged) {
  FakeWorld fake;
  const RetryWorld world = fake.world();
  Retry retry({.initial_backoff = absl::Seconds(1),
               .max_backoff = absl::Seconds(1),
               .window = absl::Seconds(10)},
              world);
  const absl::Status broken = absl::UnavailableError("x");
  ASSERT_TRUE(retry.Again(broken));
  ASSERT_TRUE(retry.Judge(false));  // nothing was sent, nothing was in question
  fake.now += absl::Minutes(5);     // a long stream, which breaks
  retry.MayHaveProgressed();
  for (int i = 0; i < 9; ++i) ASSERT_TRUE(retry.Again(broken)) << i;  // unreachable
  EXPECT_TRUE(retry.Judge(true));

  ASSERT_TRUE(retry.Again(broken));
  fake.now += absl::Minutes(5);
  retry.MayHaveProgressed();
  ASSERT_TRUE(retry.Again(broken));
  EXPECT_FALSE(retry.Judge(false));  // the window had ended, and for nothing
  EXPECT_FALSE(retry.Again(broken));
}

TEST(Retry, StreamsThatAchieveNothingEndWithTheWindow) {
  FakeWorld fake;
  const RetryWorld world = fake.world();
  Retry retry({.initial_backoff = absl::Seconds(1),
               .max_backoff = absl::Seconds(1),
               .window = absl::Seconds(10)},
              world);
  int tries = 0;
  do {
    ASSERT_LT(++tries, 20);
    retry.MayHaveProgressed();
    ASSERT_TRUE(retry.Again(absl::UnavailableError("x")));
  } while (retry.Judge(false));
  EXPECT_EQ(fake.now, absl::UnixEpoch() + absl::Seconds(10));
}

TEST(Retry, DoesNotTryAgainWhatWillNotPass) {
  FakeWorld fake;
  const RetryWorld world = fake.world();
  int calls = 0;
  const absl::Status status = CallWithRetry({}, world, [&] {
    ++calls;
    return absl::NotFoundError("x");
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(fake.sleeps.empty());
}

TEST(Retry, CancelEndsIt) {
  FakeWorld fake;
  const RetryWorld world = fake.world();
  Cancel cancel;
  cancel.Request();
  Retry retry({}, world, &cancel);
  EXPECT_FALSE(retry.Again(absl::UnavailableError("x")));
}

TEST(Cancel, RunsScopesOnce) {
  Cancel cancel;
  int before = 0, gone = 0, after = 0;
  {
    Cancel::Scope scope(&cancel, [&] { ++gone; });
  }
  Cancel::Scope scope(&cancel, [&] { ++before; });
  cancel.Request();
  cancel.Request();
  Cancel::Scope late(&cancel, [&] { ++after; });
  EXPECT_EQ(before, 1);
  EXPECT_EQ(gone, 0);
  EXPECT_EQ(after, 1);
  EXPECT_TRUE(cancel.WaitFor(absl::InfiniteDuration()));
}

}  // namespace
}  // namespace ckpt
