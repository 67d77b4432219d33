#include "client/ckptctl/policy_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ckpt::ctl {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<Policy> Apply(std::vector<std::string> args, const Policy& base) {
  CLI::App app;
  PolicyFlags flags;
  flags.AddTo(&app);
  std::reverse(args.begin(), args.end());
  app.parse(args);
  return flags.Apply(base);
}

TEST(PolicyFlags, ChangeOnlyWhatTheyName) {
  const Policy base = Policy::Default();
  const auto policy = Apply({"--keep-last", "5", "--keep-bytes", "50GiB", "--keep-within", "2h",
                             "--restore-grace", "30m"},
                            base);
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->keep_last, 5u);
  EXPECT_EQ(policy->keep_bytes, uint64_t{50} << 30);
  EXPECT_EQ(policy->keep_within, absl::Hours(2));
  EXPECT_EQ(policy->restore_grace, absl::Minutes(30));
  EXPECT_EQ(policy->keep_best, base.keep_best);
  EXPECT_EQ(policy->metric_grace, base.metric_grace);
}

TEST(PolicyFlags, BestRulesAreOneAMetric) {
  const auto policy =
      Apply({"--keep-best", "2:acc:max", "--keep-best", "4:val_loss:min"}, Policy::Default());
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->keep_best, (std::vector<BestRule>{{"val_loss", MetricMode::kMin, 4},
                                                      {"acc", MetricMode::kMax, 2}}));
}

TEST(PolicyFlags, UnsetAndClearTurnRulesOff) {
  const auto unset =
      Apply({"--unset", "keep-last", "--unset", "keep-best:val_loss"}, Policy::Default());
  ASSERT_TRUE(unset.ok()) << unset.status();
  EXPECT_FALSE(unset->has_rules());
  Policy base = Policy::Default();
  base.restore_grace = absl::Hours(1);
  const auto cleared = Apply({"--clear", "--keep-daily", "7"}, base);
  ASSERT_TRUE(cleared.ok()) << cleared.status();
  EXPECT_EQ(cleared->keep_daily, 7u);
  EXPECT_FALSE(cleared->keep_last.has_value());
  EXPECT_EQ(cleared->restore_grace, absl::Hours(1));
}

TEST(PolicyFlags, RefuseNonsenseAndNameTheFlag) {
  const struct {
    std::vector<std::string> args;
    const char* message;
  } kCases[] = {
      {{"--keep-last", "0"}, "--unset keep-last"},
      {{"--keep-last", "many"}, "--keep-last 'many'"},
      {{"--keep-last", "4294967296"}, "too large"},
      {{"--keep-every-steps", "0"}, "--unset keep-every-steps"},
      {{"--keep-within", "2"}, "--keep-within"},
      {{"--keep-within", "0"}, "--unset keep-within"},
      {{"--keep-bytes", "lots"}, "--keep-bytes"},
      {{"--keep-bytes", "0"}, "--unset keep-bytes"},
      {{"--keep-best", "1:val_loss"}, "a part is missing"},
      {{"--keep-best", "1:val_loss:low"}, "neither min nor max"},
      {{"--keep-best", "0:val_loss:min"}, "0 would keep nothing"},
      {{"--keep-best", "x:val_loss:min"}, "whole number"},
      {{"--keep-best", "1:../x:min"}, "metric is no name"},
      {{"--unset", "keep-lats"}, "'keep-lats' is no rule"},
      {{"--unset", "keep-best:acc"}, "no rule of the best by 'acc'"},
      {{"--max-failed-resumes", "0"}, "at least 1"},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.message);
    const auto policy = Apply(c.args, Policy::Default());
    ASSERT_FALSE(policy.ok());
    EXPECT_EQ(policy.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(policy.status().message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace ckpt::ctl
