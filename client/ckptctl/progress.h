// A line on standard error that says how far a transfer is, when standard
// error is a terminal; nothing at all otherwise.
#pragma once

#include <cstdint>
#include <string>

#include <absl/time/clock.h>

#include "client/transfer.h"

namespace ckpt::ctl {

// "12.0 MiB / 1.0 GiB   1%  850.0 MiB/s  ETA 1s" behind a bar of `width`.
std::string ProgressLine(const std::string& label, uint64_t done, uint64_t total,
                         absl::Duration elapsed, size_t width);

class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  ~ProgressBar() { Clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Update(uint64_t done, uint64_t total);
  // Takes the line away, before something else is said.
  void Clear();
  // For transfers; refers to this object.
  ProgressFn Fn() {
    return [this](const Progress& p) { Update(p.done_bytes, p.total_bytes); };
  }
  absl::Duration elapsed() const { return absl::Now() - began_; }

 private:
  const std::string label_;
  const bool terminal_;
  const absl::Time began_ = absl::Now();
  absl::Time drawn_ = absl::InfinitePast();
  bool shown_ = false;
};

}  // namespace ckpt::ctl
