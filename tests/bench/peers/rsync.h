// An rsync daemon on loopback, and rsync that sends it a whole file.
#pragma once

#include <string>

#include "tests/bench/process.h"
#include "tests/bench/states.h"
#include "tests/testing/loopback.h"

namespace ckpt::bench {

class Rsync {
 public:
  explicit Rsync(const std::string& directory);

  // Seconds until a new copy of the file is durable: the daemon syncs it
  // (--fsync), and its directory is synced here.
  double Put(const StateFile& state);
  void Clear();

 private:
  const std::string directory_, log_, config_;
  const test::ReservedPort port_;
  Process server_;
};

}  // namespace ckpt::bench
