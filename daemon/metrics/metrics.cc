#include "daemon/metrics/metrics.h"

#include <bitset>
#include <tuple>

namespace ckptd {
namespace {

// A disk answers in under a millisecond or, behind a queue, in minutes.
constexpr double kDiskBounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                  0.25,   0.5,   1,      2.5,   5,    10,    30,   60};
// Fewer, since every call has its own.
constexpr double kCallBounds[] = {0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60};

}  // namespace

MethodMetrics::MethodMetrics() : seconds(kCallBounds) {}

DiskMetrics::DiskMetrics() : data_sync_seconds(kDiskBounds), name_sync_seconds(kDiskBounds) {}

Metrics::Metrics(const std::vector<std::string>& methods)
    : commit_seconds(kDiskBounds), catalog_commit_seconds(kDiskBounds) {
  for (const std::string& method : methods) {
    calls.emplace(std::piecewise_construct, std::forward_as_tuple(method), std::tuple<>());
  }
}

void Metrics::CountVerdicts(const std::vector<ckpt::Checkpoint>& judged) {
  for (const ckpt::Checkpoint& checkpoint : judged) {
    if (checkpoint.removed_at) continue;
    if (!checkpoint.verdict.keep) checkpoints_removed.Add();
    std::bitset<kRules> rules;  // two metrics may both have it among their best
    for (const ckpt::Reason& reason : checkpoint.verdict.reasons) {
      if (const auto rule = static_cast<size_t>(reason.rule); rule < kRules) rules.set(rule);
    }
    for (size_t rule = 0; rule < kRules; ++rule) {
      if (rules[rule]) (checkpoint.verdict.keep ? kept_by : removed_by)[rule].Add();
    }
  }
}

CallMeter::CallMeter(Metrics& metrics, std::string_view method, absl::StatusCode if_dropped)
    : if_dropped_(if_dropped) {
  const auto found = metrics.calls.find(method);
  method_ = found == metrics.calls.end() ? nullptr : &found->second;
  if (method_ != nullptr) ++method_->running;
}

void CallMeter::End(absl::StatusCode code) {
  if (method_ == nullptr) return;
  const auto index = static_cast<size_t>(code);
  const auto unknown = static_cast<size_t>(absl::StatusCode::kUnknown);
  method_->by_code[index < MethodMetrics::kCodes ? index : unknown].Add();
  method_->seconds.Observe(watch_.Elapsed());
  --method_->running;
  method_ = nullptr;
}

}  // namespace ckptd
