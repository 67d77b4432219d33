#include "client/libtorch/schedulers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace ckpt::libtorch {

std::vector<double> LearningRates(const torch::optim::Optimizer& optimizer) {
  std::vector<double> rates;
  for (const auto& group : optimizer.param_groups()) rates.push_back(group.options().get_lr());
  return rates;
}

std::string ShortTypeName(const char* type) {
  std::string name = type;
  if (const size_t colon = name.rfind(':'); colon != std::string::npos) name.erase(0, colon + 1);
  if (name.size() > 4 && name.ends_with("Impl")) name.resize(name.size() - 4);
  return name;
}

// ---- StepLR -----------------------------------------------------------------

StepLR::StepLR(torch::optim::Optimizer& optimizer, int64_t step_size, double gamma)
    : optimizer_(optimizer),
      step_size_(step_size),
      gamma_(gamma),
      base_lrs_(LearningRates(optimizer)),
      last_lr_(base_lrs_) {}

void StepLR::step() {
  ++step_count_;
  ++last_epoch_;
  if (step_size_ > 0 && last_epoch_ % step_size_ == 0) {
    for (auto& group : optimizer_.param_groups()) {
      group.options().set_lr(group.options().get_lr() * gamma_);
    }
  }
  last_lr_ = LearningRates(optimizer_);
}

std::vector<Field> StepLR::Fields() {
  return {{"step_size", &step_size_},    {"gamma", &gamma_},
          {"base_lrs", &base_lrs_},      {"last_epoch", &last_epoch_},
          {"_step_count", &step_count_}, {"_last_lr", &last_lr_}};
}

// ---- WarmupCosineLR -----------------------------------------------------------

WarmupCosineLR::WarmupCosineLR(torch::optim::Optimizer& optimizer, int64_t warmup_steps,
                               int64_t total_steps, double min_ratio)
    : optimizer_(optimizer),
      warmup_steps_(warmup_steps),
      total_steps_(total_steps),
      min_ratio_(min_ratio),
      base_lrs_(LearningRates(optimizer)) {
  Apply();
}

void WarmupCosineLR::step() {
  ++last_epoch_;
  Apply();
}

void WarmupCosineLR::Apply() {
  double ratio;
  if (last_epoch_ < warmup_steps_) {
    ratio = static_cast<double>(last_epoch_ + 1) / static_cast<double>(warmup_steps_);
  } else {
    const double length = static_cast<double>(std::max<int64_t>(total_steps_ - warmup_steps_, 1));
    const double done = std::min(static_cast<double>(last_epoch_ - warmup_steps_) / length, 1.0);
    ratio = min_ratio_ + (1 - min_ratio_) * 0.5 * (1 + std::cos(M_PI * done));
  }
  auto& groups = optimizer_.param_groups();
  for (size_t i = 0; i < groups.size() && i < base_lrs_.size(); ++i) {
    groups[i].options().set_lr(base_lrs_[i] * ratio);
  }
  last_lr_ = LearningRates(optimizer_);
}

std::vector<Field> WarmupCosineLR::Fields() {
  return {{"warmup_steps", &warmup_steps_}, {"total_steps", &total_steps_},
          {"min_ratio", &min_ratio_},       {"base_lrs", &base_lrs_},
          {"last_epoch", &last_epoch_},     {"_last_lr", &last_lr_}};
}

// ---- ReduceLROnPlateau ----------------------------------------------------------

ReduceLROnPlateau::ReduceLROnPlateau(torch::optim::Optimizer& optimizer, PlateauOptions options)
    : optimizer_(optimizer), options_(std::move(options)) {
  const double worst = std::numeric_limits<double>::infinity();
  mode_worse_ = options_.mode == "min" ? worst : -worst;
  best_ = mode_worse_;
  if (options_.min_lr.empty()) options_.min_lr = {0};
  // One bound stands for every group.
  options_.min_lr.resize(optimizer.param_groups().size(), options_.min_lr.back());
}

bool ReduceLROnPlateau::IsBetter(double metric) const {
  const bool relative = options_.threshold_mode == "rel";
  if (options_.mode == "min") {
    return metric < (relative ? best_ * (1.0 - options_.threshold) : best_ - options_.threshold);
  }
  return metric > (relative ? best_ * (options_.threshold + 1.0) : best_ + options_.threshold);
}

void ReduceLROnPlateau::step(double metric) {
  ++last_epoch_;
  if (IsBetter(metric)) {
    best_ = metric;
    num_bad_epochs_ = 0;
  } else {
    ++num_bad_epochs_;
  }
  if (cooldown_counter_ > 0) {
    --cooldown_counter_;
    num_bad_epochs_ = 0;
  }
  if (num_bad_epochs_ > options_.patience) {
    auto& groups = optimizer_.param_groups();
    for (size_t i = 0; i < groups.size() && i < options_.min_lr.size(); ++i) {
      const double old_lr = groups[i].options().get_lr();
      const double new_lr = std::max(old_lr * options_.factor, options_.min_lr[i]);
      if (old_lr - new_lr > options_.eps) groups[i].options().set_lr(new_lr);
    }
    cooldown_counter_ = options_.cooldown;
    num_bad_epochs_ = 0;
  }
  last_lr_ = LearningRates(optimizer_);
}

std::vector<Field> ReduceLROnPlateau::Fields() {
  return {{"factor", &options_.factor},
          {"min_lrs", &options_.min_lr},
          {"patience", &options_.patience},
          {"cooldown", &options_.cooldown},
          {"cooldown_counter", &cooldown_counter_},
          {"mode", &options_.mode, {"min", "max"}},
          {"threshold", &options_.threshold},
          {"threshold_mode", &options_.threshold_mode, {"rel", "abs"}},
          {"best", &best_},
          {"num_bad_epochs", &num_bad_epochs_},
          {"mode_worse", &mode_worse_},
          {"eps", &options_.eps},
          {"last_epoch", &last_epoch_},
          {"_last_lr", &last_lr_}};
}

}  // namespace ckpt::libtorch
