#include "daemon/policy_flags.h"

#include <CLI/CLI.hpp>
#include <absl/strings/numbers.h>
#include <absl/strings/str_split.h>
#include <fmt/format.h>

#include "daemon/flag_values.h"
#include "proto/convert.h"
#include "proto/names.h"

namespace ckptd {
namespace {

CLI::Validator Count32() { return CountUpTo(UINT32_MAX); }
CLI::Validator Count64() { return CountUpTo(UINT64_MAX); }

absl::StatusOr<ckpt::BestRule> ParseBest(const std::string& text) {
  std::vector<std::string> parts = absl::StrSplit(text, ':');
  ckpt::BestRule rule;
  bool good = parts.size() == 3 && absl::SimpleAtoi(parts[0], &rule.count) &&
              (parts[2] == "min" || parts[2] == "max");
  if (!good) {
    return ckpt::BadField("keep-best", fmt::format("keep-best: \"{}\" is not N:METRIC:min or "
                                                   "N:METRIC:max; write for example "
                                                   "1:val_loss:min", ckpt::Printable(text)));
  }
  rule.metric = parts[1];
  rule.mode = parts[2] == "min" ? ckpt::MetricMode::kMin : ckpt::MetricMode::kMax;
  return rule;
}

}  // namespace

void PolicyFlags::AddTo(CLI::App& app) {
  auto add = [&](const char* name, auto& value, const char* text) {
    return app.add_option(name, value, text)->group("Default policy, for runs without their own");
  };
  add("--keep-last", keep_last, "Keep the newest N, or none for no such rule (default 3)")
      ->check(CountUpTo(UINT32_MAX, /*or_none=*/true));
  add("--keep-best", keep_best,
      "Keep the best N by a metric: N:METRIC:min|max, or none (default 1:val_loss:min)")
      ->delimiter(',');
  add("--keep-every-steps", keep_every_steps, "Keep the nearest to each multiple of S steps")
      ->check(Count64());
  add("--keep-within", keep_within, "Keep this long before the newest commit");
  add("--keep-hourly", keep_hourly, "Keep one of each of the last N hours that have one")
      ->check(Count32());
  add("--keep-daily", keep_daily, "The same for days")->check(Count32());
  add("--keep-weekly", keep_weekly, "The same for weeks")->check(Count32());
  add("--keep-monthly", keep_monthly, "The same for months")->check(Count32());
  add("--keep-yearly", keep_yearly, "The same for years")->check(Count32());
  add("--keep-bytes", keep_bytes, "Keep the newest that fit together, such as 50GiB")
      ->transform(Size())
      ->check(Count64());
  app.add_flag("--keep-all", keep_all, "No rules: keep everything")
      ->group("Default policy, for runs without their own");
  add("--metric-grace", metric_grace, "How long an announced metric is waited for");
  add("--restore-grace", restore_grace, "How long a removed checkpoint can be brought back");
  add("--upload-deadline", upload_deadline, "When unfinished uploads are dropped");
}

absl::StatusOr<ckpt::Policy> PolicyFlags::Parse() const {
  ckpt::Policy policy;
  ASSIGN_OR_RETURN(policy.metric_grace, ParseTime("metric-grace", metric_grace));
  ASSIGN_OR_RETURN(policy.restore_grace, ParseTime("restore-grace", restore_grace));
  ASSIGN_OR_RETURN(policy.upload_deadline, ParseTime("upload-deadline", upload_deadline));
  if (!keep_all) {
    if (uint32_t count = 0; absl::SimpleAtoi(keep_last, &count)) policy.keep_last = count;
    for (const std::string& text : keep_best) {
      if (text.empty() || text == "none") continue;
      ASSIGN_OR_RETURN(ckpt::BestRule rule, ParseBest(text));
      policy.keep_best.push_back(rule);
    }
    // Absent is off; a zero that was written out was refused.
    auto set = [](auto& rule, auto value) {
      if (value != 0) rule = value;
    };
    set(policy.keep_every_steps, keep_every_steps);
    set(policy.keep_hourly, keep_hourly);
    set(policy.keep_daily, keep_daily);
    set(policy.keep_weekly, keep_weekly);
    set(policy.keep_monthly, keep_monthly);
    set(policy.keep_yearly, keep_yearly);
    set(policy.keep_bytes, keep_bytes);
    if (!keep_within.empty()) {
      ASSIGN_OR_RETURN(policy.keep_within, ParseTime("keep-within", keep_within));
    }
  }
  RETURN_IF_ERROR(ckpt::CheckPolicy(policy));
  return policy;
}

}  // namespace ckptd
