// The daemon's figures in Prometheus' text format: the one place that knows the
// metrics' names, what they mean, and their labels. No label has a value that
// comes from a user: how many series there are does not depend on what is kept.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <absl/time/time.h>

#include "daemon/metrics/metrics.h"
#include "daemon/store/store.h"
#include "proto/model.h"

namespace ckptd {

// What is not counted but looked at when somebody asks.
struct Gauges {
  std::string version;
  absl::Duration uptime;
  uint64_t keep_free_bytes = 0;
  Store::Health health;
  Store::Load load;
  // Not known while the store does not answer; then they are left out.
  std::optional<ckpt::Stats> stats;
  std::optional<uint64_t> catalog_bytes;
};

std::string ToText(const Metrics& metrics, const Gauges& gauges);

}  // namespace ckptd
