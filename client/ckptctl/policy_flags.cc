#include "client/ckptctl/policy_flags.h"

#include <algorithm>
#include <limits>

#include "client/ckptctl/units.h"
#include "proto/names.h"

namespace ckpt::ctl {
namespace {

absl::Status Zero(const std::string& flag) {
  return BadField(
      flag, fmt::format("--{0} 0 would keep nothing; turn the rule off with --unset {0}", flag));
}

template <typename T>
absl::Status SetCount(const std::string& flag, const std::string& text, std::optional<T>& out) {
  if (text.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const uint64_t value, ParseCount("--" + flag, text));
  if (value == 0) return Zero(flag);
  if (value > std::numeric_limits<T>::max()) {
    return BadField(flag, fmt::format("--{} '{}' is too large", flag, Printable(text, 40)));
  }
  out = static_cast<T>(value);
  return absl::OkStatus();
}

absl::Status SetDuration(const std::string& flag, const std::string& text, absl::Duration& out) {
  if (text.empty()) return absl::OkStatus();
  const absl::StatusOr<absl::Duration> value = ParseDuration(text);
  if (!value.ok()) return Annotate(value.status(), "--" + flag);
  out = *value;
  return absl::OkStatus();
}

absl::Status Unset(const std::string& rule, Policy& policy) {
  if (rule == "keep-last") {
    policy.keep_last.reset();
  } else if (rule == "keep-best") {
    policy.keep_best.clear();
  } else if (rule.starts_with("keep-best:")) {
    const std::string metric = rule.substr(std::string_view("keep-best:").size());
    if (std::erase_if(policy.keep_best, [&](const BestRule& r) { return r.metric == metric; }) ==
        0) {
      return BadField("unset", fmt::format("--unset: the policy has no rule of the best by '{}'",
                                           Printable(metric)));
    }
  } else if (rule == "keep-every-steps") {
    policy.keep_every_steps.reset();
  } else if (rule == "keep-within") {
    policy.keep_within.reset();
  } else if (rule == "keep-hourly") {
    policy.keep_hourly.reset();
  } else if (rule == "keep-daily") {
    policy.keep_daily.reset();
  } else if (rule == "keep-weekly") {
    policy.keep_weekly.reset();
  } else if (rule == "keep-monthly") {
    policy.keep_monthly.reset();
  } else if (rule == "keep-yearly") {
    policy.keep_yearly.reset();
  } else if (rule == "keep-bytes") {
    policy.keep_bytes.reset();
  } else {
    return BadField("unset",
                    fmt::format("--unset '{}' is no rule: use keep-last, keep-best[:METRIC], "
                                "keep-every-steps, keep-within, keep-hourly, -daily, -weekly, "
                                "-monthly, -yearly or keep-bytes",
                                Printable(rule)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BestRule> ParseBestRule(const std::string& text) {
  const auto bad = [&](const std::string& why) {
    return BadField("keep-best", fmt::format("--keep-best '{}': {}; write it as N:METRIC:min or "
                                             "N:METRIC:max, such as 1:val_loss:min",
                                             Printable(text), why));
  };
  const size_t first = text.find(':');
  const size_t last = text.rfind(':');
  if (first == std::string::npos || last == first) return bad("a part is missing");
  BestRule rule;
  const absl::StatusOr<uint64_t> count = ParseCount("N", text.substr(0, first));
  if (!count.ok() || *count > std::numeric_limits<uint32_t>::max()) {
    return bad("N is not a whole number");
  }
  if (*count == 0) return bad("0 would keep nothing");
  rule.count = static_cast<uint32_t>(*count);
  rule.metric = text.substr(first + 1, last - first - 1);
  if (absl::Status status = CheckLabelName("metric", rule.metric); !status.ok()) {
    return bad("the metric is no name");
  }
  const std::string mode = text.substr(last + 1);
  if (mode != "min" && mode != "max") return bad("neither min nor max is said");
  rule.mode = mode == "min" ? MetricMode::kMin : MetricMode::kMax;
  return rule;
}

void PolicyFlags::AddTo(CLI::App* verb) {
  constexpr char kRules[] = "Rules (a checkpoint stays if any keeps it)";
  const auto rule = [&](const char* flag, std::string& value, const char* type, const char* help) {
    verb->add_option(flag, value, help)->type_name(type)->group(kRules);
  };
  rule("--keep-last", keep_last, "N", "The newest N");
  verb->add_option("--keep-best", keep_best, "The best N by a metric, such as 1:val_loss:min")
      ->type_name("N:METRIC:min|max")
      ->group(kRules)
      ->take_all();
  rule("--keep-every-steps", keep_every_steps, "S", "The nearest to each multiple of S steps");
  rule("--keep-within", keep_within, "TIME", "All within this time before the newest");
  rule("--keep-hourly", keep_hourly, "N", "The newest of each of the last N hours that have one");
  rule("--keep-daily", keep_daily, "N", "The same for days");
  rule("--keep-weekly", keep_weekly, "N", "The same for weeks");
  rule("--keep-monthly", keep_monthly, "N", "The same for months");
  rule("--keep-yearly", keep_yearly, "N", "The same for years");
  rule("--keep-bytes", keep_bytes, "SIZE", "The newest that fit together into so much, as 50GiB");
  verb->add_option("--unset", unset, "Turns a rule off: keep-last, keep-best:METRIC, ...")
      ->type_name("RULE")
      ->group(kRules)
      ->take_all();
  verb->add_flag("--clear", clear, "Begins with no rules; with none at all, everything is kept")
      ->group(kRules);
  constexpr char kTimes[] = "Times they depend on";
  verb->add_option("--metric-grace", metric_grace, "How long an announced metric is waited for")
      ->type_name("TIME")
      ->group(kTimes);
  verb->add_option("--restore-grace", restore_grace,
                   "How long a removed checkpoint can be brought back")
      ->type_name("TIME")
      ->group(kTimes);
  verb->add_option("--upload-deadline", upload_deadline, "When unfinished uploads are dropped")
      ->type_name("TIME")
      ->group(kTimes);
  verb->add_option("--max-failed-resumes", max_failed_resumes,
                   "Resumes in a row without a new commit that flag a checkpoint")
      ->type_name("K")
      ->group(kTimes);
}

bool PolicyFlags::any() const {
  for (const std::string* text :
       {&keep_last, &keep_every_steps, &keep_within, &keep_hourly, &keep_daily, &keep_weekly,
        &keep_monthly, &keep_yearly, &keep_bytes, &metric_grace, &restore_grace, &upload_deadline,
        &max_failed_resumes}) {
    if (!text->empty()) return true;
  }
  return clear || !keep_best.empty() || !unset.empty();
}

absl::StatusOr<Policy> PolicyFlags::Apply(Policy policy) const {
  if (clear) {
    Policy empty;
    empty.metric_grace = policy.metric_grace;
    empty.restore_grace = policy.restore_grace;
    empty.upload_deadline = policy.upload_deadline;
    empty.max_failed_resumes = policy.max_failed_resumes;
    empty.version = policy.version;
    policy = std::move(empty);
  }
  for (const std::string& rule : unset) RETURN_IF_ERROR(Unset(rule, policy));
  RETURN_IF_ERROR(SetCount("keep-last", keep_last, policy.keep_last));
  for (const std::string& text : keep_best) {
    ASSIGN_OR_RETURN(const BestRule rule, ParseBestRule(text));
    auto same = std::find_if(policy.keep_best.begin(), policy.keep_best.end(),
                             [&](const BestRule& r) { return r.metric == rule.metric; });
    if (same != policy.keep_best.end()) {
      *same = rule;
    } else {
      policy.keep_best.push_back(rule);
    }
  }
  RETURN_IF_ERROR(SetCount("keep-every-steps", keep_every_steps, policy.keep_every_steps));
  if (!keep_within.empty()) {
    absl::Duration within;
    RETURN_IF_ERROR(SetDuration("keep-within", keep_within, within));
    if (within == absl::ZeroDuration()) return Zero("keep-within");
    policy.keep_within = within;
  }
  RETURN_IF_ERROR(SetCount("keep-hourly", keep_hourly, policy.keep_hourly));
  RETURN_IF_ERROR(SetCount("keep-daily", keep_daily, policy.keep_daily));
  RETURN_IF_ERROR(SetCount("keep-weekly", keep_weekly, policy.keep_weekly));
  RETURN_IF_ERROR(SetCount("keep-monthly", keep_monthly, policy.keep_monthly));
  RETURN_IF_ERROR(SetCount("keep-yearly", keep_yearly, policy.keep_yearly));
  if (!keep_bytes.empty()) {
    const absl::StatusOr<uint64_t> bytes = ParseBytes(keep_bytes);
    if (!bytes.ok()) return Annotate(bytes.status(), "--keep-bytes");
    if (*bytes == 0) return Zero("keep-bytes");
    policy.keep_bytes = *bytes;
  }
  RETURN_IF_ERROR(SetDuration("metric-grace", metric_grace, policy.metric_grace));
  RETURN_IF_ERROR(SetDuration("restore-grace", restore_grace, policy.restore_grace));
  RETURN_IF_ERROR(SetDuration("upload-deadline", upload_deadline, policy.upload_deadline));
  std::optional<uint32_t> resumes;
  if (max_failed_resumes == "0")
    return BadField("max-failed-resumes", "--max-failed-resumes must be at least 1");
  RETURN_IF_ERROR(SetCount("max-failed-resumes", max_failed_resumes, resumes));
  if (resumes) policy.max_failed_resumes = *resumes;
  return policy;
}

}  // namespace ckpt::ctl
