// What each of LibTorch's optimizers keeps for a parameter, and its options:
// the one place that knows them by name.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <torch/optim/optimizer.h>

#include "client/libtorch/field.h"

namespace ckpt::libtorch {

enum class PartShape {
  kParameter,  // the parameter's shape and dtype
  kFlat,       // one dimension, as long as all parameters together
  kAny,
};

// The values of one parameter's state, by reference. Numbers travel as
// scalar tensors.
struct StateParts {
  struct Tensor {
    std::string key;
    torch::Tensor* tensor;
    PartShape shape = PartShape::kParameter;
    bool required = true;  // else undefined when the option that wants it is off
  };
  struct List {
    std::string key;  // elements are key.0, key.1, ...
    std::deque<torch::Tensor>* tensors;
    PartShape shape;
  };
  std::vector<std::pair<std::string, int64_t*>> counters;
  std::vector<std::pair<std::string, double*>> numbers;
  std::vector<Tensor> tensors;
  std::vector<List> lists;
};

// One type of optimizer. Options and states passed are of that type.
struct OptimizerKind {
  const char* type;
  bool (*is)(const torch::optim::Optimizer&);
  std::vector<Field> (*options)(torch::optim::OptimizerOptions&);
  std::unique_ptr<torch::optim::OptimizerParamState> (*new_state)();
  StateParts (*parts)(torch::optim::OptimizerParamState&);
};

// nullptr: none that can be saved.
const OptimizerKind* FindKind(const torch::optim::Optimizer& optimizer);

// LibTorch's key of a parameter's state: the address of its implementation.
std::string StateKey(const torch::Tensor& parameter);

}  // namespace ckpt::libtorch
