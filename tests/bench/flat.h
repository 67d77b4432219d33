// Everything that is measured with a state of large tensors of one size.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tests/bench/peers/backup.h"
#include "tests/bench/report.h"
#include "tests/bench/setup.h"
#include "tests/bench/states.h"

namespace ckpt::bench {

// One thread.
class Flat {
 public:
  // `bytes` is a multiple of 64 MiB. A state of which memory does not hold
  // several is `lean`: memory is given back between measurements, and those that
  // need the state three times are left out.
  Flat(const Setup& setup, Peers& peers, uint64_t bytes, bool lean, Report& report);
  ~Flat();
  Flat(const Flat&) = delete;
  Flat& operator=(const Flat&) = delete;

  // All measurements, beginning with number `first` so that no one always
  // follows the same other. The very first round begins with 0.
  void Round(size_t first);

  const std::string& state() const { return state_; }
  uint64_t bytes() const { return bytes_; }
  bool lean() const { return lean_; }
  // The daemon's largest memory while eight runs pushed, in bytes.
  uint64_t workers_memory() const { return workers_memory_; }

 private:
  // What backups go to, and the file they are of.
  struct Sharing {
    Sharing(const Setup& setup, uint64_t bytes);
    ~Sharing();
    const std::string directory;
    StateFile file;
    Restic restic;
    Borg borg;
  };

  void Settle() const;
  void Add(const char* row, double seconds, const char* against = "");
  void MeasureDisk();
  void MeasureLoopback();
  void MeasureCopy();
  void MeasureSaves();
  void MeasureFetches();
  void MeasureTorch();
  void MeasureFiles();
  void MeasureSharing();
  void MeasureWorkers();

  const Setup& setup_;
  Peers& peers_;
  const uint64_t bytes_;
  const bool lean_;
  const std::string state_, raw_file_;
  Report& report_;
  Tensors source_;
  std::unique_ptr<Saver> saver_;
  std::unique_ptr<Sharing> sharing_;
  uint64_t workers_memory_ = 0;
};

}  // namespace ckpt::bench
