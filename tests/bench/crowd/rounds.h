// Eight pushers at work, alone or beside a crowd. Errors end the process with a
// sentence.
#pragma once

#include <cstdint>
#include <string>

#include "tests/bench/crowd/crowd.h"
#include "tests/bench/usage.h"
#include "tests/bench/workers.h"

namespace ckpt::bench {

inline constexpr CrowdSize kCrowd = {.idle = 1000, .pushes = 56, .fetches = 8};
inline constexpr int kPushers = 8;

struct Round {
  double seconds = 0;    // until all is durable
  double processor = 0;  // seconds of the daemon in them
  uint64_t memory = 0;   // the daemon's peak, the crowd's coming and going included
};

// One thread.
class Rounds {
 public:
  // `directory` holds the daemon's data, `worker` is ckpt_bench_worker.
  Rounds(DaemonAt daemon, std::string directory, const std::string& worker, uint64_t bytes_each);

  // Each pusher pushes new bytes.
  Round Alone();
  // Void, which ends the process, unless all of the crowd lasted to the end.
  Round BesideCrowd();

 private:
  // Lets what was before come to its end.
  void Settle() const;
  Round Push();

  const DaemonAt daemon_;
  const std::string directory_;
  const uint64_t fetched_;  // the checkpoint that slow fetches are of
  Workers pushers_;
};

}  // namespace ckpt::bench
