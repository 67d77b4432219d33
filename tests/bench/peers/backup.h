// restic and borg: what shares the bytes that did not change. Both with their
// defaults, to a local repository; both sync what they write.
#pragma once

#include <cstdint>
#include <string>

#include "tests/bench/process.h"
#include "tests/bench/states.h"

namespace ckpt::bench {

class Restic {
 public:
  explicit Restic(const std::string& directory);
  // Seconds to back the file up.
  double Put(const StateFile& state);
  uint64_t Stored() const;  // bytes on disk

 private:
  Command CommandOf(std::vector<std::string> words) const;
  const std::string directory_, repository_;
};

class Borg {
 public:
  explicit Borg(const std::string& directory);
  double Put(const StateFile& state);
  uint64_t Stored() const;

 private:
  Command CommandOf(std::vector<std::string> words) const;
  const std::string directory_, repository_;
};

}  // namespace ckpt::bench
