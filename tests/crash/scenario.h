// One push after another, commits, pins and prunes: short, always the same, and
// gone through once for each thing that can fail in it.
#pragma once

#include <memory>
#include <vector>

#include "client/client.h"
#include "tests/crash/house.h"
#include "tests/crash/model.h"

namespace ckpt::crash {

class Scenario {
 public:
  explicit Scenario(uint64_t seed);

  // Everything, or as far as the first call that fails. What failed may have
  // happened or not.
  absl::Status Play(Client& client);
  // Once the daemon is whole again: what was acknowledged is there, nothing
  // else is, no space is lost, and everything can be gone through again.
  void Check(House& house);
  RunModel& run() { return run_; }

 private:
  absl::Status Make(const Change& change, const absl::Status& made);
  absl::Status Push(Client& client, uint64_t step);

  std::vector<std::shared_ptr<const Shard>> shards_;
  RunModel run_;
};

}  // namespace ckpt::crash
