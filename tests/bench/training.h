// What a save costs the training of GPT-2 small: many small tensors, some large.
#pragma once

#include <memory>
#include <string>

#include "tests/bench/report.h"
#include "tests/bench/setup.h"
#include "tests/bench/states.h"

namespace ckpt::bench {

// One thread.
class Training {
 public:
  // A training step is matrix products on one thread for about `step_seconds`.
  Training(const Setup& setup, Peers& peers, double step_seconds, Report& report);
  ~Training();
  Training(const Training&) = delete;
  Training& operator=(const Training&) = delete;

  // As Flat::Round.
  void Round(size_t first);

  static constexpr char kState[] = "GPT-2 small";
  double step_seconds() const { return step_seconds_; }

 private:
  void Settle() const;
  void Add(const char* row, double seconds, const char* against = "");
  void Steps(int count);
  void MeasureDisk();
  void MeasureCopy();
  void MeasureSave();
  void MeasureTorch();
  void MeasureFetch();
  void MeasureSteps();

  const Setup& setup_;
  Peers& peers_;
  Report& report_;
  Tensors source_;
  const uint64_t bytes_;
  std::unique_ptr<Saver> saver_;
  torch::Tensor left_, right_;
  int products_a_step_ = 1;
  double step_seconds_ = 0;
};

}  // namespace ckpt::bench
