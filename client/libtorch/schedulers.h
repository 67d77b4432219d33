// Learning-rate schedulers whose state can be saved. LibTorch's own keep it
// protected, have no ReduceLROnPlateau, and its StepLR lowers the rate one
// step later than Python's. These behave as Python's torch.optim.lr_scheduler
// does, value for value, and their state has Python's names, so that
// `load_state_dict` in Python takes it.
//
// Every scheduler refers to an optimizer that must outlive it. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <c10/util/Type.h>
#include <torch/optim/optimizer.h>
#include <torch/optim/schedulers/lr_scheduler.h>

#include "client/libtorch/field.h"

namespace ckpt::libtorch {

// What a scheduler shows to a TrainingState.
class Scheduler {
 public:
  virtual ~Scheduler() = default;
  // Python's name of the class.
  virtual std::string type() const = 0;
  virtual std::vector<Field> Fields() = 0;
};

// Multiplies every group's rate by `gamma` each `step_size` calls of step().
class StepLR : public Scheduler {
 public:
  StepLR(torch::optim::Optimizer& optimizer, int64_t step_size, double gamma = 0.1);
  void step();
  std::string type() const override { return "StepLR"; }
  std::vector<Field> Fields() override;

 private:
  torch::optim::Optimizer& optimizer_;
  int64_t step_size_;
  double gamma_;
  std::vector<double> base_lrs_;
  int64_t last_epoch_ = 0;
  int64_t step_count_ = 1;  // Python counts the step in its constructor
  std::vector<double> last_lr_;
};

// Linear warm-up from 0 over `warmup_steps` calls, then half a cosine down to
// `min_ratio` of the first rate at `total_steps`, which it keeps from there.
class WarmupCosineLR : public Scheduler {
 public:
  // Sets the first step's rate.
  WarmupCosineLR(torch::optim::Optimizer& optimizer, int64_t warmup_steps, int64_t total_steps,
                 double min_ratio = 0.1);
  void step();
  std::string type() const override { return "WarmupCosineLR"; }
  std::vector<Field> Fields() override;

 private:
  void Apply();

  torch::optim::Optimizer& optimizer_;
  int64_t warmup_steps_;
  int64_t total_steps_;
  double min_ratio_;
  std::vector<double> base_lrs_;
  int64_t last_epoch_ = 0;
  std::vector<double> last_lr_;
};

struct PlateauOptions {
  std::string mode = "min";  // or "max"
  double factor = 0.1;       // below 1
  int64_t patience = 10;     // calls without improvement that are let pass
  double threshold = 1e-4;
  std::string threshold_mode = "rel";  // or "abs"
  int64_t cooldown = 0;
  std::vector<double> min_lr = {0};  // one, or one a group
  double eps = 1e-8;
};

// Lowers the rate when a metric has stopped improving.
class ReduceLROnPlateau : public Scheduler {
 public:
  explicit ReduceLROnPlateau(torch::optim::Optimizer& optimizer, PlateauOptions options = {});
  void step(double metric);
  std::string type() const override { return "ReduceLROnPlateau"; }
  std::vector<Field> Fields() override;

 private:
  bool IsBetter(double metric) const;

  torch::optim::Optimizer& optimizer_;
  PlateauOptions options_;  // min_lr: one a group
  double best_;
  double mode_worse_;
  int64_t num_bad_epochs_ = 0;
  int64_t cooldown_counter_ = 0;
  int64_t last_epoch_ = 0;
  std::vector<double> last_lr_;
};

// "torch::nn::LinearImpl" as Python would call it: "Linear".
std::string ShortTypeName(const char* type);

// One of LibTorch's own schedulers (or yours derived from LRScheduler), made
// savable: `Resumable<torch::optim::StepLR> scheduler(optimizer, 30);`. It
// keeps LibTorch's behaviour; only the count of steps is its state.
template <class LibTorchScheduler>
class Resumable : public LibTorchScheduler, public Scheduler {
 public:
  using LibTorchScheduler::LibTorchScheduler;
  std::string type() const override {
    return ShortTypeName(c10::demangle_type<LibTorchScheduler>());
  }
  std::vector<Field> Fields() override { return {{"_step_count", &this->step_count_}}; }
};

// The groups' rates, in their order.
std::vector<double> LearningRates(const torch::optim::Optimizer& optimizer);

}  // namespace ckpt::libtorch
