#include "tests/bench/goal.h"

#include <fmt/format.h>

namespace ckpt::bench {
namespace {

std::string Number(const Goal& goal, double value) {
  return goal.unit.empty() ? fmt::format("{:.2f}", value)
                           : fmt::format("{:.{}f} {}", value, value < 10 ? 2 : 0, goal.unit);
}

}  // namespace

std::string Table(const std::vector<Goal>& goals) {
  std::string out = "| ratio | measured | asked for | |\n|---|--:|--:|---|\n";
  for (const Goal& goal : goals) {
    const bool asked = goal.wanted > 0;
    out += fmt::format(
        "| {} | {} | {} | {} |\n", goal.text, Number(goal, goal.value),
        asked ? (goal.at_least ? "at least " : "at most ") + Number(goal, goal.wanted) : "",
        !asked       ? ""
        : goal.met() ? "met"
                     : "missed");
  }
  return out;
}

nlohmann::json Json(const std::vector<Goal>& goals) {
  nlohmann::json all = nlohmann::json::array();
  for (const Goal& goal : goals) {
    nlohmann::json one = {{"ratio", goal.text}, {"measured", goal.value}, {"unit", goal.unit}};
    if (goal.wanted > 0) {
      one[goal.at_least ? "at_least" : "at_most"] = goal.wanted;
      one["met"] = goal.met();
    }
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace ckpt::bench
