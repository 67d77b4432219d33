// torch::save and torch::load of C++.
#pragma once

#include <string>

#include "tests/bench/states.h"

namespace ckpt::bench {

class Torch {
 public:
  explicit Torch(const std::string& directory) : file_(directory + "/torch.pt") {}

  // Seconds until the state is durable.
  double Put(const Tensors& tensors);
  // Seconds to load what Put wrote into the tensors.
  double Get(Tensors& tensors);
  void Clear();

 private:
  const std::string file_;
};

}  // namespace ckpt::bench
