#include "tests/bench/peers/python_torch.h"

#include <filesystem>

#include "tests/bench/common.h"
#include "tests/bench/disk.h"

namespace ckpt::bench {

PythonTorch::PythonTorch(const std::string& script, const std::string& directory)
    : file_(directory + "/python.pt"),
      process_({.words = {"/usr/bin/python3", script}, .log = directory + "/python.log"}) {
  process_.HearOk();
}

void PythonTorch::Open(const StateFile& state) {
  process_.Tell("open " + state.path());
  process_.HearOk();
}

void PythonTorch::Close() {
  process_.Tell("close");
  process_.HearOk();
}

double PythonTorch::Put() {
  return Timed([&] {
    process_.Tell("save " + file_);
    process_.HearOk();
    SyncFile(file_);
  });
}

double PythonTorch::Get() {
  return Timed([&] {
    process_.Tell("load " + file_);
    process_.HearOk();
  });
}

void PythonTorch::Clear() { std::filesystem::remove(file_); }

}  // namespace ckpt::bench
