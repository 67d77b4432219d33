// Samples of one benchmark run, and the table that shows them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ckpt::bench {

// Not thread-safe.
class Report {
 public:
  // One measurement of `name`: seconds, and the bytes that were moved (0: none).
  void Add(const std::string& name, double seconds, uint64_t bytes = 0);
  // Forgets everything so far.
  void Clear() { samples_.clear(); }
  double MedianSeconds(const std::string& name) const;  // 0: never measured
  uint64_t MedianBytes(const std::string& name) const;

  // A Markdown table: medians, ranges, rates, and how many times as long as
  // `disk`, and how many times faster than `torch`, each row takes. A row whose
  // disk or torch is empty shows none.
  struct Row {
    std::string name;
    std::string disk;
    std::string torch;
  };
  std::string Table(const std::vector<Row>& rows) const;

 private:
  struct Samples {
    std::vector<double> seconds;
    std::vector<uint64_t> bytes;
  };
  std::map<std::string, Samples> samples_;
};

}  // namespace ckpt::bench
