// Samples of one benchmark run, and the table and the files that show them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace ckpt::bench {

struct Sample {
  double seconds = 0;
  uint64_t bytes = 0;  // that were made durable, loaded or copied; 0: none
  uint64_t added = 0;  // on disk; 0: not asked
};

// Medians, but for the range.
struct Summary {
  double seconds = 0, low = 0, high = 0;
  uint64_t bytes = 0, added = 0;
  double rate() const { return static_cast<double>(bytes) / seconds / 1e9; }  // GB/s
};

// Not thread-safe.
class Report {
 public:
  // One measurement of `name` with `state`. Rows stand in the order of their
  // first measurement. The rate of a row with `against`, another name of the
  // same state, is also told as a share of that one's.
  void Add(const std::string& state, const std::string& name, const Sample& sample,
           const std::string& against = "");
  // Forgets the samples of one state so far, not the order of its rows.
  void ForgetSamples(const std::string& state);

  // Nothing: never measured.
  std::optional<Summary> Find(const std::string& state, const std::string& name) const;
  // How many times as long `top` takes as `bottom`, and how many times as fast
  // it is; 0: not both were measured.
  double TimesAsLong(const std::string& state, const std::string& top,
                     const std::string& bottom) const;
  double TimesAsFast(const std::string& state, const std::string& top,
                     const std::string& bottom) const;

  std::string Table() const;  // Markdown
  nlohmann::json Json() const;

 private:
  struct Row {
    std::string state, name, against;
    std::vector<Sample> samples;
  };
  std::optional<Summary> Summarize(const Row& row) const;

  std::vector<Row> rows_;
};

}  // namespace ckpt::bench
