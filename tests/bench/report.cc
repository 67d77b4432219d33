#include "tests/bench/report.h"

#include <algorithm>

#include <fmt/format.h>

namespace ckpt::bench {
namespace {

template <class T>
T Median(std::vector<T> values) {
  if (values.empty()) return T{};
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string Seconds(double s) {
  return s < 1e-3 ? fmt::format("{:.0f} us", s * 1e6)
         : s < 1  ? fmt::format("{:.0f} ms", s * 1e3)
                  : fmt::format("{:.2f} s", s);
}

}  // namespace

void Report::Add(const std::string& name, double seconds, uint64_t bytes) {
  samples_[name].seconds.push_back(seconds);
  samples_[name].bytes.push_back(bytes);
}

double Report::MedianSeconds(const std::string& name) const {
  const auto found = samples_.find(name);
  return found == samples_.end() ? 0 : Median(found->second.seconds);
}

uint64_t Report::MedianBytes(const std::string& name) const {
  const auto found = samples_.find(name);
  return found == samples_.end() ? 0 : Median(found->second.bytes);
}

std::string Report::Table(const std::vector<Row>& rows) const {
  std::string out =
      "| what | median | range | GiB/s | times raw disk | times faster than torch |\n"
      "|---|--:|--:|--:|--:|--:|\n";
  for (const Row& row : rows) {
    const auto found = samples_.find(row.name);
    if (found == samples_.end()) continue;
    const auto [low, high] = std::ranges::minmax(found->second.seconds);
    const double median = MedianSeconds(row.name);
    const uint64_t bytes = MedianBytes(row.name);
    const double disk = row.disk.empty() ? 0 : MedianSeconds(row.disk);
    const double torch = row.torch.empty() ? 0 : MedianSeconds(row.torch);
    const auto ratio = [](double top, double bottom) {
      return top > 0 && bottom > 0 ? fmt::format("{:.2f}", top / bottom) : std::string();
    };
    const double rate = static_cast<double>(bytes) / (1u << 30) / median;
    out += fmt::format("| {} | {} | {} to {} | {} | {} | {} |\n", row.name, Seconds(median),
                       Seconds(low), Seconds(high),
                       bytes > 0 ? fmt::format("{:.2f}", rate) : std::string(), ratio(median, disk),
                       ratio(torch, median));
  }
  return out;
}

}  // namespace ckpt::bench
