// Many interruptions of a daemon that is pushed to, pruned and read from, and
// after each a look at whether what it acknowledged is there and nothing else is.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/crash/house.h"
#include "tests/crash/model.h"
#include "tests/crash/worker.h"

namespace ckpt::crash {

// A number from the environment.
uint64_t FromEnvironment(const char* name, uint64_t otherwise);

// Of everything random in the process: CKPT_CRASH_SEED, or one that is printed,
// so that a failure can be had again, as far as timing allows.
uint64_t Seed();

// Two workers on four runs of two projects. One thread.
class Trial {
 public:
  // Starts `house`, which must outlive it.
  Trial(House* house, Random& random);
  ~Trial();

  // While workers make calls, `interrupt` does something to the house; it may
  // leave it down, or up and quiet. Ends at the first failure.
  void Run(uint64_t rounds, const std::function<void(uint64_t round)>& interrupt);
  // Everything once more, then all runs are deleted and nothing may be left.
  void Finish();

  uint64_t commits() const;

 private:
  void Check(bool all);

  House& house_;
  RunModel plain_, ranked_, sharing_, other_;
  const std::vector<RunModel*> runs_;
  Gate gate_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
};

}  // namespace ckpt::crash
