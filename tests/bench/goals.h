// The ratios that ckptd is held to, from one run's medians.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/bench/goal.h"
#include "tests/bench/report.h"

namespace ckpt::bench {

// `state` is the flat one that is compared. What was not measured is left out.
std::vector<Goal> Goals(const Report& report, const std::string& state, uint64_t workers_memory);

}  // namespace ckpt::bench
