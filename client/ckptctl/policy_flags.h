// The flags of `policy set`: what they change in a policy.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "proto/model.h"
#include "proto/status.h"

namespace ckpt::ctl {

struct PolicyFlags {
  std::string keep_last, keep_every_steps, keep_within, keep_hourly, keep_daily, keep_weekly,
      keep_monthly, keep_yearly, keep_bytes, metric_grace, restore_grace, upload_deadline,
      max_failed_resumes;
  std::vector<std::string> keep_best, unset;
  bool clear = false;

  void AddTo(CLI::App* verb);
  bool any() const;
  // `base` with what the flags say; the rules that no flag names stay.
  // INVALID_ARGUMENT names the flag. Zero is refused: --unset turns a rule off.
  absl::StatusOr<Policy> Apply(Policy base) const;
};

// "N:METRIC:min|max".
absl::StatusOr<BestRule> ParseBestRule(const std::string& text);

}  // namespace ckpt::ctl
