// Optimizers of LibTorch as entries of a checkpoint, named as Python's
// optimizer.state_dict() names them: state by the parameter's index, options by
// group. SGD, Adam, AdamW, Adagrad, RMSprop and LBFGS.
#pragma once

#include <string>

#include <torch/optim/optimizer.h>
#include <nlohmann/json.hpp>

#include "client/libtorch/snapshot.h"
#include "client/libtorch/tensors.h"

namespace ckpt::libtorch {

// "AdamW"; UNIMPLEMENTED for a type that is not listed above.
absl::StatusOr<std::string> OptimizerType(const torch::optim::Optimizer& optimizer);

// Adds the entries to `state` and describes them in `object`.
absl::Status CaptureOptimizer(const std::string& name, torch::optim::Optimizer& optimizer,
                              State& state, nlohmann::json& object);

// The bytes of the state that `optimizer` will make at its first step for
// parameters that have none yet; 0 where that depends on the steps (LBFGS).
uint64_t OptimizerBytesToCome(torch::optim::Optimizer& optimizer);

// Compares, and plans the load: state goes into new tensors that replace the
// optimizer's only once everything has been fetched. With `problems` left
// empty the plan is complete; else it holds what fits (state of a parameter
// only as a whole).
void PlanOptimizer(const std::string& name, torch::optim::Optimizer& optimizer,
                   const Snapshot& snapshot, LoadPlan& plan, Problems& problems);

}  // namespace ckpt::libtorch
