// Counting: histograms, calls, verdicts.
#include "daemon/metrics/metrics.h"

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ckptd {
namespace {

using ::testing::ElementsAre;
using Rule = ckpt::Reason::Rule;

std::vector<uint64_t> Counts(const Histogram::Snapshot& snapshot) {
  std::vector<uint64_t> counts;
  for (const Histogram::Bucket& bucket : snapshot.buckets) counts.push_back(bucket.count);
  return counts;
}

TEST(HistogramTest, PutsEachTimeIntoTheFirstBucketThatHoldsIt) {
  static constexpr double kBounds[] = {0.001, 0.1, 2};
  struct Case {
    absl::Duration time;
    std::vector<uint64_t> counts;
  };
  for (const Case& c : {
           Case{absl::ZeroDuration(), {1, 1, 1}},
           Case{absl::Milliseconds(1), {1, 1, 1}},  // a bound belongs to its bucket
           Case{absl::Milliseconds(1) + absl::Nanoseconds(1), {0, 1, 1}},
           Case{absl::Milliseconds(100), {0, 1, 1}}, Case{absl::Seconds(2), {0, 0, 1}},
           Case{absl::Seconds(3), {0, 0, 0}},
           Case{absl::Seconds(-1), {1, 1, 1}},  // a clock that went back
       }) {
    Histogram histogram(kBounds);
    histogram.Observe(c.time);
    EXPECT_EQ(Counts(histogram.Get()), c.counts) << c.time;
    EXPECT_EQ(histogram.Get().count, 1u) << c.time;
  }
}

TEST(HistogramTest, AddsUpWhatManyThreadsSaw) {
  static constexpr double kBounds[] = {0.5, 1.5};
  Histogram histogram(kBounds);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) histogram.Observe(absl::Milliseconds(250 * (1 + i % 8)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const Histogram::Snapshot snapshot = histogram.Get();
  EXPECT_THAT(Counts(snapshot), ElementsAre(1000, 3000));
  EXPECT_EQ(snapshot.count, 4000u);
  EXPECT_DOUBLE_EQ(snapshot.seconds, 4500);
}

TEST(CallMeterTest, CountsACallOnceAndSaysWhatIsUnderWay) {
  Metrics metrics({"Get", "Put"});
  const MethodMetrics& get = metrics.calls.at("Get");
  {
    CallMeter meter(metrics, "Get", absl::StatusCode::kCancelled);
    CallMeter other(metrics, "Get", absl::StatusCode::kCancelled);
    EXPECT_EQ(get.running, 2);
    meter.End(absl::StatusCode::kNotFound);
    meter.End(absl::StatusCode::kOk);  // too late
    EXPECT_EQ(get.running, 1);
  }
  EXPECT_EQ(get.running, 0);
  EXPECT_EQ(get.by_code[static_cast<size_t>(absl::StatusCode::kNotFound)].value(), 1u);
  EXPECT_EQ(get.by_code[static_cast<size_t>(absl::StatusCode::kCancelled)].value(), 1u);
  EXPECT_EQ(get.by_code[0].value(), 0u);
  EXPECT_EQ(get.seconds.Get().count, 2u);
  EXPECT_EQ(metrics.calls.at("Put").seconds.Get().count, 0u);
}

TEST(CallMeterTest, KnowsNoOtherMethodsAndNoOtherCodes) {
  Metrics metrics({"Get"});
  { CallMeter meter(metrics, "Gone", absl::StatusCode::kOk); }
  EXPECT_EQ(metrics.calls.size(), 1u);
  CallMeter meter(metrics, "Get", absl::StatusCode::kOk);
  meter.End(static_cast<absl::StatusCode>(4711));
  const auto unknown = static_cast<size_t>(absl::StatusCode::kUnknown);
  EXPECT_EQ(metrics.calls.at("Get").by_code[unknown].value(), 1u);
}

TEST(MetricsTest, CountsAVerdictUnderEachOfItsReasons) {
  Metrics metrics;
  ckpt::Checkpoint kept, went, gone_before;
  kept.verdict = {true, {{Rule::kNewest, ""}, {Rule::kBest, "a"}, {Rule::kBest, "b"}}};
  went.verdict = {false, {{Rule::kSuperseded, "a"}, {Rule::kSuperseded, "b"}, {Rule::kBudget, ""}}};
  gone_before.verdict = {false, {{Rule::kDeleted, ""}}};
  gone_before.removed_at = absl::UnixEpoch();
  metrics.CountVerdicts({kept, went, gone_before});
  metrics.CountVerdicts({kept});
  const auto of = [](const auto& counters, Rule rule) {
    return counters[static_cast<size_t>(rule)].value();
  };
  EXPECT_EQ(of(metrics.kept_by, Rule::kNewest), 2u);
  EXPECT_EQ(of(metrics.kept_by, Rule::kBest), 2u);
  EXPECT_EQ(of(metrics.kept_by, Rule::kLast), 0u);
  EXPECT_EQ(of(metrics.removed_by, Rule::kSuperseded), 1u);
  EXPECT_EQ(of(metrics.removed_by, Rule::kBudget), 1u);
  EXPECT_EQ(of(metrics.removed_by, Rule::kBest), 0u);
  EXPECT_EQ(of(metrics.removed_by, Rule::kDeleted), 0u);
  EXPECT_EQ(metrics.checkpoints_removed.value(), 1u);
}

}  // namespace
}  // namespace ckptd
