// Policies, what makes one well-formed, and budgets.
#include <set>

#include <fmt/format.h>

#include "proto/convert.h"
#include "proto/names.h"

namespace ckpt {

v1::Policy ToProto(const Policy& policy) {
  v1::Policy message;
  if (policy.keep_last) message.set_keep_last(*policy.keep_last);
  for (const BestRule& rule : policy.keep_best) {
    v1::BestRule& out = *message.add_keep_best();
    out.set_metric(rule.metric);
    out.set_mode(static_cast<v1::MetricMode>(rule.mode));
    out.set_count(rule.count);
  }
  if (policy.keep_every_steps) message.set_keep_every_steps(*policy.keep_every_steps);
  if (policy.keep_within) *message.mutable_keep_within() = ToProto(*policy.keep_within);
  if (policy.keep_hourly) message.set_keep_hourly(*policy.keep_hourly);
  if (policy.keep_daily) message.set_keep_daily(*policy.keep_daily);
  if (policy.keep_weekly) message.set_keep_weekly(*policy.keep_weekly);
  if (policy.keep_monthly) message.set_keep_monthly(*policy.keep_monthly);
  if (policy.keep_yearly) message.set_keep_yearly(*policy.keep_yearly);
  if (policy.keep_bytes) message.set_keep_bytes(*policy.keep_bytes);
  *message.mutable_metric_grace() = ToProto(policy.metric_grace);
  *message.mutable_restore_grace() = ToProto(policy.restore_grace);
  *message.mutable_upload_deadline() = ToProto(policy.upload_deadline);
  message.set_max_failed_resumes(policy.max_failed_resumes);
  message.set_version(policy.version);
  return message;
}

absl::StatusOr<Policy> FromProto(const v1::Policy& message) {
  Policy policy;
  if (message.has_keep_last()) policy.keep_last = message.keep_last();
  for (const v1::BestRule& rule : message.keep_best()) {
    MetricMode mode = rule.mode() == v1::METRIC_MODE_MIN   ? MetricMode::kMin
                      : rule.mode() == v1::METRIC_MODE_MAX ? MetricMode::kMax
                                                           : MetricMode::kUnspecified;
    policy.keep_best.push_back({rule.metric(), mode, rule.count()});
  }
  if (message.has_keep_every_steps()) policy.keep_every_steps = message.keep_every_steps();
  if (message.has_keep_within()) policy.keep_within = FromProto(message.keep_within());
  if (message.has_keep_hourly()) policy.keep_hourly = message.keep_hourly();
  if (message.has_keep_daily()) policy.keep_daily = message.keep_daily();
  if (message.has_keep_weekly()) policy.keep_weekly = message.keep_weekly();
  if (message.has_keep_monthly()) policy.keep_monthly = message.keep_monthly();
  if (message.has_keep_yearly()) policy.keep_yearly = message.keep_yearly();
  if (message.has_keep_bytes()) policy.keep_bytes = message.keep_bytes();
  if (message.has_metric_grace()) policy.metric_grace = FromProto(message.metric_grace());
  if (message.has_restore_grace()) policy.restore_grace = FromProto(message.restore_grace());
  if (message.has_upload_deadline()) policy.upload_deadline = FromProto(message.upload_deadline());
  if (message.has_max_failed_resumes()) policy.max_failed_resumes = message.max_failed_resumes();
  policy.version = message.version();
  RETURN_IF_ERROR(CheckPolicy(policy));
  return policy;
}

v1::Budget ToProto(const Budget& budget) {
  v1::Budget message;
  message.set_project(budget.project);
  message.set_bytes(budget.bytes);
  message.set_is_default(budget.is_default);
  message.set_stored_bytes(budget.stored_bytes);
  return message;
}

Budget FromProto(const v1::Budget& message) {
  return {.project = message.project(),
          .bytes = message.bytes(),
          .is_default = message.is_default(),
          .stored_bytes = message.stored_bytes()};
}

absl::Status CheckPolicy(const Policy& policy) {
  auto bad = [](const std::string& field, const std::string& text) {
    return BadField("policy." + field, fmt::format("policy.{}: {}", field, text),
                    reason::kBadPolicy);
  };
  auto zero = [&](const char* field, const auto& value) -> absl::Status {
    if (value && *value == 0) {
      return bad(field, "zero would keep nothing; leave the rule out to turn it off");
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(zero("keep_last", policy.keep_last));
  RETURN_IF_ERROR(zero("keep_every_steps", policy.keep_every_steps));
  RETURN_IF_ERROR(zero("keep_hourly", policy.keep_hourly));
  RETURN_IF_ERROR(zero("keep_daily", policy.keep_daily));
  RETURN_IF_ERROR(zero("keep_weekly", policy.keep_weekly));
  RETURN_IF_ERROR(zero("keep_monthly", policy.keep_monthly));
  RETURN_IF_ERROR(zero("keep_yearly", policy.keep_yearly));
  RETURN_IF_ERROR(zero("keep_bytes", policy.keep_bytes));
  if (policy.keep_within && *policy.keep_within <= absl::ZeroDuration()) {
    return bad("keep_within", "must be longer than zero; leave the rule out to turn it off");
  }
  std::set<std::string> metrics;
  for (size_t i = 0; i < policy.keep_best.size(); ++i) {
    const BestRule& rule = policy.keep_best[i];
    std::string field = fmt::format("keep_best[{}]", i);
    if (absl::Status name = CheckLabelName("metric", rule.metric); !name.ok()) {
      return bad(field + ".metric", std::string(name.message()));
    }
    if (rule.count == 0) {
      return bad(field + ".count", "zero would keep nothing; leave the rule out to turn it off");
    }
    if (rule.mode == MetricMode::kUnspecified) {
      return bad(field + ".mode", fmt::format("say min or max for {}: the direction is never "
                                              "guessed from a metric's name", rule.metric));
    }
    if (!metrics.insert(rule.metric).second) {
      return bad(field + ".metric", fmt::format("{} has two rules; join them", rule.metric));
    }
  }
  if (policy.metric_grace < absl::ZeroDuration()) return bad("metric_grace", "is negative");
  if (policy.restore_grace < absl::ZeroDuration()) return bad("restore_grace", "is negative");
  if (policy.upload_deadline <= absl::ZeroDuration()) {
    return bad("upload_deadline", "must be longer than zero, or no push could ever finish");
  }
  if (policy.max_failed_resumes == 0) {
    return bad("max_failed_resumes", "zero would flag every checkpoint; give at least 1");
  }
  return absl::OkStatus();
}

}  // namespace ckpt
