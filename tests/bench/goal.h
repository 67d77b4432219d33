// A ratio that ckptd is held to, and the table that tells whether it holds.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace ckpt::bench {

struct Goal {
  std::string text;
  double value = 0;
  std::string unit;   // empty: a ratio
  double wanted = 0;  // 0: told, not asked for
  bool at_least = true;

  bool met() const { return at_least ? value >= wanted : value <= wanted; }
};

std::string Table(const std::vector<Goal>& goals);  // Markdown
nlohmann::json Json(const std::vector<Goal>& goals);

}  // namespace ckpt::bench
