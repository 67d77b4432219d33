// torch.save and torch.load of Python. One interpreter is kept, so that its
// start is not measured.
#pragma once

#include <string>

#include "tests/bench/process.h"
#include "tests/bench/states.h"

namespace ckpt::bench {

class PythonTorch {
 public:
  // `script` is torch_server.py.
  PythonTorch(const std::string& script, const std::string& directory);

  // Has the bytes of `state` as tensors, without a copy, until Close.
  void Open(const StateFile& state);
  void Close();

  // Seconds until the state is durable.
  double Put();
  // Seconds to load what Put wrote.
  double Get();
  void Clear();

 private:
  const std::string file_;
  Process process_;
};

}  // namespace ckpt::bench
