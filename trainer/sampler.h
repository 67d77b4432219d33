// Which windows of the text make up the next batch: every window once an
// epoch, in an order that only the seed and the epoch decide. Its position is
// two counters, so a checkpoint holds them and a resume goes on mid-epoch.
#pragma once

#include <cstdint>
#include <vector>

namespace ckpt::trainer {

class Sampler {
 public:
  // `windows` > 0.
  Sampler(int64_t windows, uint64_t seed) : windows_(windows), seed_(seed) {}

  // The next `count` windows; goes into the next epoch where one ends.
  std::vector<int64_t> Next(int64_t count);

  // The state. Both may be set; the order follows.
  int64_t epoch = 0;
  int64_t position = 0;  // windows of the epoch already given

 private:
  void Shuffle();

  int64_t windows_;
  uint64_t seed_;
  int64_t shuffled_epoch_ = -1;  // the epoch that order_ belongs to
  std::vector<int64_t> order_;
};

}  // namespace ckpt::trainer
