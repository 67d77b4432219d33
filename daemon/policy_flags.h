// The flags of the default policy, that of runs without their own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/model.h"
#include "proto/status.h"

namespace CLI {
class App;
}

namespace ckptd {

// As they are given, or by default; durations and best rules as text.
struct PolicyFlags {
  std::string keep_last = "3";
  std::vector<std::string> keep_best = {"1:val_loss:min"};
  bool keep_all = false;
  uint64_t keep_every_steps = 0;
  std::string keep_within;
  uint32_t keep_hourly = 0, keep_daily = 0, keep_weekly = 0, keep_monthly = 0, keep_yearly = 0;
  uint64_t keep_bytes = 0;
  std::string metric_grace = "1h";
  std::string restore_grace = "0s";
  std::string upload_deadline = "24h";

  // Must outlive the app's parsing.
  void AddTo(CLI::App& app);
  // Once that is done. INVALID_ARGUMENT names the flag.
  absl::StatusOr<ckpt::Policy> Parse() const;
};

}  // namespace ckptd
