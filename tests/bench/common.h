// What every part of the benchmark uses: the clock, and the way an error ends it.
#pragma once

#include <chrono>
#include <cstdlib>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "proto/status.h"

namespace ckpt::bench {

// Ends the process with a sentence. A benchmark that cannot measure something
// gives no figure for it.
[[noreturn]] inline void Die(const std::string& text) {
  fmt::print(stderr, "bench: {}\n", text);
  std::exit(1);
}
inline void Must(const absl::Status& status) {
  if (!status.ok()) Die(std::string(status.message()));
}
template <class T>
T Must(absl::StatusOr<T> value) {
  Must(value.status());
  return *std::move(value);
}

inline double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
// Seconds that `work` takes.
template <class Fn>
double Timed(Fn&& work) {
  const double begun = Now();
  work();
  return Now() - begun;
}

}  // namespace ckpt::bench
