#include "trainer/sampler.h"

#include <numeric>
#include <utility>

namespace ckpt::trainer {
namespace {

// SplitMix64: the standard library's distributions differ between libraries.
uint64_t NextRandom(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

std::vector<int64_t> Sampler::Next(int64_t count) {
  std::vector<int64_t> batch;
  batch.reserve(static_cast<size_t>(count));
  while (std::cmp_less(batch.size(), count)) {
    if (position >= windows_) {
      ++epoch;
      position = 0;
    }
    if (shuffled_epoch_ != epoch) Shuffle();
    batch.push_back(order_[static_cast<size_t>(position++)]);
  }
  return batch;
}

void Sampler::Shuffle() {
  order_.resize(static_cast<size_t>(windows_));
  std::iota(order_.begin(), order_.end(), 0);
  uint64_t state = seed_ ^ (static_cast<uint64_t>(epoch) * 0xd1342543de82ef95);
  for (size_t i = order_.size(); i > 1; --i) {
    std::swap(order_[i - 1], order_[NextRandom(state) % i]);
  }
  shuffled_epoch_ = epoch;
}

}  // namespace ckpt::trainer
