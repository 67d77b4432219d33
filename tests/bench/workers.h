// Several workers (worker.cc) that push or fetch at the same moment.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/process.h"

namespace ckpt::bench {

class Workers {
 public:
  // `program` is ckpt_bench_worker. Starts them.
  Workers(const std::string& program, const std::string& address, const std::string& log,
          int workers);
  // Ends them; their runs are deleted.
  ~Workers();

  // Gives each a state, which is pushed to the run of its number once.
  void MakeStates(uint64_t bytes_each);
  static std::string RunOf(int worker) { return "worker-" + std::to_string(worker); }
  // Seconds until new states of all of them are durable.
  double Push();

  // Makes room for the newest checkpoint of `run` in each.
  void Aim(const std::string& run) { Tell("aim " + run); }
  // Seconds until each has fetched it `times` times.
  double Fetch(int times);

 private:
  // Tells all of them, then waits for all answers.
  void Tell(const std::string& line);

  std::vector<std::unique_ptr<Process>> workers_;
};

}  // namespace ckpt::bench
