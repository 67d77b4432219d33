// Where the benchmark runs, and whom ckptd is measured against.
#pragma once

#include <string>

#include "tests/bench/daemon.h"
#include "tests/bench/peers/nginx.h"
#include "tests/bench/peers/python_torch.h"
#include "tests/bench/peers/rsync.h"
#include "tests/bench/peers/torch.h"

namespace ckpt::bench {

struct Setup {
  DaemonAt daemon;
  std::string directory;  // on the disk that is measured; holds the daemon's data too
  std::string memory;     // a directory in memory
  std::string worker;     // ckpt_bench_worker
  std::string script;     // torch_server.py
};

// Those that take any state. Servers run as long as the object lives.
struct Peers {
  explicit Peers(const Setup& setup)
      : torch(setup.directory),
        python(setup.script, setup.directory),
        rsync(setup.directory),
        nginx(setup.directory) {}

  Torch torch;
  PythonTorch python;
  Rsync rsync;
  Nginx nginx;
};

}  // namespace ckpt::bench
