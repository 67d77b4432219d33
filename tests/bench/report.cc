#include "tests/bench/report.h"

#include <algorithm>

#include <fmt/format.h>

#include "tests/bench/median.h"

namespace ckpt::bench {
namespace {

std::string Seconds(double s) {
  return s < 1e-3 ? fmt::format("{:.0f} us", s * 1e6)
         : s < 1  ? fmt::format("{:.0f} ms", s * 1e3)
                  : fmt::format("{:.2f} s", s);
}

}  // namespace

void Report::Add(const std::string& state, const std::string& name, const Sample& sample,
                 const std::string& against) {
  auto row =
      std::ranges::find_if(rows_, [&](const Row& r) { return r.state == state && r.name == name; });
  if (row == rows_.end()) row = rows_.insert(row, {.state = state, .name = name});
  row->against = against;
  row->samples.push_back(sample);
}

void Report::ForgetSamples(const std::string& state) {
  for (Row& row : rows_) {
    if (row.state == state) row.samples.clear();
  }
}

std::optional<Summary> Report::Summarize(const Row& row) const {
  if (row.samples.empty()) return std::nullopt;
  std::vector<double> seconds;
  std::vector<uint64_t> bytes, added;
  for (const Sample& sample : row.samples) {
    seconds.push_back(sample.seconds);
    bytes.push_back(sample.bytes);
    added.push_back(sample.added);
  }
  const auto [low, high] = std::ranges::minmax(seconds);
  return Summary{Median(seconds), low, high, Median(bytes), Median(added)};
}

std::optional<Summary> Report::Find(const std::string& state, const std::string& name) const {
  for (const Row& row : rows_) {
    if (row.state == state && row.name == name) return Summarize(row);
  }
  return std::nullopt;
}

double Report::TimesAsLong(const std::string& state, const std::string& top,
                           const std::string& bottom) const {
  const auto a = Find(state, top), b = Find(state, bottom);
  return a && b ? a->seconds / b->seconds : 0;
}

double Report::TimesAsFast(const std::string& state, const std::string& top,
                           const std::string& bottom) const {
  const auto a = Find(state, top), b = Find(state, bottom);
  return a && b && b->bytes > 0 ? a->rate() / b->rate() : 0;
}

std::string Report::Table() const {
  std::string out =
      "| state | what | median | range | GB/s | of fio | added on disk |\n"
      "|---|---|--:|--:|--:|--:|--:|\n";
  for (const Row& row : rows_) {
    const auto summary = Summarize(row);
    if (!summary) continue;
    const double share = row.against.empty() ? 0 : TimesAsFast(row.state, row.name, row.against);
    out +=
        fmt::format("| {} | {} | {} | {} to {} | {} | {} | {} |\n", row.state, row.name,
                    Seconds(summary->seconds), Seconds(summary->low), Seconds(summary->high),
                    summary->bytes > 0 ? fmt::format("{:.2f}", summary->rate()) : "",
                    share > 0 ? fmt::format("{:.2f}", share) : "",
                    summary->added > 0
                        ? fmt::format("{:.1f} MiB", static_cast<double>(summary->added) / (1 << 20))
                        : "");
  }
  return out;
}

nlohmann::json Report::Json() const {
  nlohmann::json rows = nlohmann::json::array();
  for (const Row& row : rows_) {
    const auto summary = Summarize(row);
    if (!summary) continue;
    rows.push_back({{"state", row.state},
                    {"what", row.name},
                    {"seconds", summary->seconds},
                    {"seconds_low", summary->low},
                    {"seconds_high", summary->high},
                    {"bytes", summary->bytes},
                    {"added_bytes", summary->added},
                    {"samples", row.samples.size()}});
  }
  return rows;
}

}  // namespace ckpt::bench
