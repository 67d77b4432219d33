// The ratios that ckptd is held to, from one run's medians.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/bench/report.h"

namespace ckpt::bench {

struct Goal {
  std::string text;
  double value = 0;
  std::string unit;   // empty: a ratio
  double wanted = 0;  // 0: told, not asked for
  bool at_least = true;

  bool met() const { return at_least ? value >= wanted : value <= wanted; }
};

// `state` is the flat one that is compared. What was not measured is left out.
std::vector<Goal> Goals(const Report& report, const std::string& state, uint64_t workers_memory);

std::string Table(const std::vector<Goal>& goals);  // Markdown
nlohmann::json Json(const std::vector<Goal>& goals);

}  // namespace ckpt::bench
