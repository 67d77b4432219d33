// The kinds of objects that a TrainingState is made of.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>
#include <nlohmann/json.hpp>

#include "client/libtorch/field.h"
#include "client/libtorch/schedulers.h"
#include "client/libtorch/snapshot.h"
#include "client/libtorch/tensors.h"

namespace ckpt::libtorch {

// Calls may throw what LibTorch throws; TrainingState catches it.
class Object {
 public:
  virtual ~Object() = default;

  // "optimizer (AdamW)", in messages.
  virtual std::string Title(const std::string& name) const = 0;
  // Adds the object's entries to `state` and describes it in `object`.
  virtual absl::Status Capture(const std::string& name, State& state,
                               nlohmann::json& object) const = 0;
  // What a later capture will hold more than one of now, in bytes, as far as it
  // is known: the state that an optimizer makes at its first step.
  virtual uint64_t BytesToCome() const { return 0; }
  // Compares it with the checkpoint and plans the load of what fits. Changes
  // nothing. `snapshot` names the object, or has entries of its name.
  virtual void Plan(const std::string& name, const Snapshot& snapshot, LoadPlan& plan,
                    Problems& problems) const = 0;
};

std::unique_ptr<Object> ModuleObject(torch::nn::Module& module);
std::unique_ptr<Object> OptimizerObject(torch::optim::Optimizer& optimizer);
// Fields under "state"; `type` may be empty.
std::unique_ptr<Object> FieldsObject(std::string kind, std::string type, std::vector<Field> fields);
std::unique_ptr<Object> ValueObject(Field field);
std::unique_ptr<Object> TensorObject(torch::Tensor* tensor);
std::unique_ptr<Object> BytesObject(std::string* bytes);
std::unique_ptr<Object> RngObject();

}  // namespace ckpt::libtorch
