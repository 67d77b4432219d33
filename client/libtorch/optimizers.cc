#include "client/libtorch/optimizers.h"

#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include <torch/optim/sgd.h>

#include "client/libtorch/optimizer_parts.h"

namespace ckpt::libtorch {
namespace {

using nlohmann::json;
using torch::optim::Optimizer;
using torch::optim::OptimizerParamState;

// ---- Load: one parameter ----------------------------------------------------

// Plans the state of one parameter from the entries `prefix + key`.
class StateLoader {
 public:
  StateLoader(const Snapshot& snapshot, std::string prefix, std::string shown_prefix,
              const torch::Tensor& parameter, int64_t all_elements, Problems& problems)
      : snapshot_(snapshot),
        prefix_(std::move(prefix)),
        shown_prefix_(std::move(shown_prefix)),
        parameter_(parameter),
        all_elements_(all_elements),
        problems_(problems) {}

  // Nothing, and `problems` says why, when the entries do not fit.
  std::shared_ptr<OptimizerParamState> Load(const OptimizerKind& kind, LoadPlan& plan) {
    std::shared_ptr<OptimizerParamState> state = kind.new_state();
    for (const std::string& key : snapshot_.KeysUnder(prefix_)) unclaimed_.insert(key);
    StateParts parts = kind.parts(*state);
    for (auto& [key, value] : parts.counters) Number(key, DType::kI64, value);
    for (auto& [key, value] : parts.numbers) Number(key, DType::kF64, value);
    for (const auto& part : parts.tensors) {
      if (part.required || unclaimed_.contains(part.key)) Tensor(part.key, part.shape, part.tensor);
    }
    for (const auto& list : parts.lists) {
      for (size_t i = 0; unclaimed_.contains(fmt::format("{}.{}", list.key, i)); ++i) {
        list.tensors->emplace_back();
        Tensor(fmt::format("{}.{}", list.key, i), list.shape, &list.tensors->back());
      }
    }
    for (const std::string& key : unclaimed_) problems_.unexpected.push_back(shown_prefix_ + key);
    if (!fits_ || !unclaimed_.empty()) return nullptr;
    for (const auto& [entry, tensor] : tensors_) plan.Into(*entry, tensor);
    plan.destinations.insert(plan.destinations.end(), numbers_.begin(), numbers_.end());
    return state;
  }

 private:
  const Entry* Claim(const std::string& key) {
    unclaimed_.erase(key);
    const Entry* entry = snapshot_.Find(prefix_ + key);
    if (entry == nullptr) {
      problems_.missing.push_back(shown_prefix_ + key);
      fits_ = false;
    }
    return entry;
  }

  void Refuse(const std::string& key, const std::string& what, const std::string& stored,
              const std::string& wanted) {
    fits_ = false;
    problems_.errors.push_back(
        fmt::format("{} mismatch for {}: the checkpoint has {}, the current optimizer wants {}.",
                    what, shown_prefix_ + key, stored, wanted));
  }

  void Number(const std::string& key, DType dtype, void* value) {
    const Entry* entry = Claim(key);
    if (entry == nullptr) return;
    if (entry->dtype != dtype || entry->length != ElementBytes(dtype)) {
      return Refuse(key, "type", TorchDTypeName(entry->dtype) + " " + TorchSize(entry->shape),
                    TorchDTypeName(dtype) + " torch.Size([])");
    }
    Destination destination;
    destination.entry = entry->name;
    destination.data = static_cast<std::byte*>(value);
    numbers_.push_back(std::move(destination));
  }

  void Tensor(const std::string& key, PartShape shape, torch::Tensor* into) {
    const Entry* entry = Claim(key);
    if (entry == nullptr) return;
    const DType dtype = DTypeOf(parameter_.scalar_type());
    if (entry->dtype != dtype) {
      return Refuse(key, "dtype", TorchDTypeName(entry->dtype), TorchDTypeName(dtype));
    }
    std::vector<int64_t> wanted = entry->shape;
    if (shape == PartShape::kParameter) wanted = parameter_.sizes().vec();
    if (shape == PartShape::kFlat) wanted = {all_elements_};
    if (entry->shape != wanted) {
      return Refuse(key, "size", TorchSize(entry->shape), TorchSize(wanted));
    }
    // In the parameter's memory layout, as the optimizer itself would make it.
    *into = shape == PartShape::kParameter
                ? torch::empty_like(parameter_.detach(), torch::MemoryFormat::Preserve)
                : torch::empty(wanted, parameter_.options().requires_grad(false));
    tensors_.emplace_back(entry, *into);
  }

  const Snapshot& snapshot_;
  const std::string prefix_, shown_prefix_;
  const torch::Tensor& parameter_;
  const int64_t all_elements_;
  Problems& problems_;
  std::set<std::string> unclaimed_;
  bool fits_ = true;
  std::vector<std::pair<const Entry*, torch::Tensor>> tensors_;
  std::vector<Destination> numbers_;
};

}  // namespace

// ---- Capture ------------------------------------------------------------------

absl::StatusOr<std::string> OptimizerType(const Optimizer& optimizer) {
  const OptimizerKind* kind = FindKind(optimizer);
  if (kind == nullptr) {
    return absl::UnimplementedError(
        "This optimizer is none that can be saved (SGD, Adam, AdamW, Adagrad, RMSprop, LBFGS); add "
        "its tensors one by one.");
  }
  return std::string(kind->type);
}

absl::Status CaptureOptimizer(const std::string& name, Optimizer& optimizer, State& state,
                              json& object) {
  ASSIGN_OR_RETURN(const std::string type, OptimizerType(optimizer));
  const OptimizerKind& kind = *FindKind(optimizer);
  object = {{"kind", "optimizer"}, {"type", type}, {"param_groups", json::array()}};
  object["state_keys"] = json::object();

  size_t index = 0;
  for (auto& group : optimizer.param_groups()) {
    json described = json::object();
    for (const Field& field : kind.options(group.options())) described[field.name()] = field.Get();
    described["params"] = json::array();
    for (const torch::Tensor& parameter : group.params()) {
      described["params"].push_back(index);
      const auto found = optimizer.state().find(StateKey(parameter));
      if (found != optimizer.state().end()) {
        const std::string prefix = fmt::format("{}/state/{}/", name, index);
        json keys = json::array();
        const auto number = [&](const std::string& key, DType dtype, const void* value) {
          keys.push_back(key);
          StateEntry entry;
          entry.name = prefix + key;
          entry.dtype = dtype;
          entry.length = ElementBytes(dtype);
          entry.owned.assign(static_cast<const char*>(value), entry.length);
          state.Add(std::move(entry));
        };
        const auto tensor = [&](const std::string& key, const torch::Tensor& value) {
          if (!value.defined()) return absl::OkStatus();
          keys.push_back(key);
          ASSIGN_OR_RETURN(StateEntry entry, TensorEntry(prefix + key, value));
          state.Add(std::move(entry));
          return absl::OkStatus();
        };
        const StateParts parts = kind.parts(*found->second);
        for (const auto& [key, value] : parts.counters) number(key, DType::kI64, value);
        for (const auto& [key, value] : parts.numbers) number(key, DType::kF64, value);
        for (const auto& part : parts.tensors) RETURN_IF_ERROR(tensor(part.key, *part.tensor));
        for (const auto& list : parts.lists) {
          for (size_t i = 0; i < list.tensors->size(); ++i) {
            RETURN_IF_ERROR(tensor(fmt::format("{}.{}", list.key, i), (*list.tensors)[i]));
          }
        }
        object["state_keys"][std::to_string(index)] = std::move(keys);
      }
      ++index;
    }
    object["param_groups"].push_back(std::move(described));
  }
  return absl::OkStatus();
}

uint64_t OptimizerBytesToCome(Optimizer& optimizer) {
  const OptimizerKind* kind = FindKind(optimizer);
  if (kind == nullptr) return 0;
  const std::unique_ptr<OptimizerParamState> state = kind->new_state();
  uint64_t tensors = 0;  // that each parameter gets
  for (const auto& part : kind->parts(*state).tensors) tensors += part.required ? 1 : 0;
  uint64_t bytes = 0;
  for (auto& group : optimizer.param_groups()) {
    const auto* sgd = dynamic_cast<const torch::optim::SGDOptions*>(&group.options());
    if (sgd != nullptr && sgd->momentum() == 0) continue;  // nothing to remember
    for (const torch::Tensor& parameter : group.params()) {
      const bool stepped = optimizer.state().count(StateKey(parameter)) > 0;
      if (!stepped && parameter.requires_grad()) bytes += tensors * parameter.nbytes();
    }
  }
  return bytes;
}

// ---- Load ---------------------------------------------------------------------

void PlanOptimizer(const std::string& name, Optimizer& optimizer, const Snapshot& snapshot,
                   LoadPlan& plan, Problems& problems) {
  const OptimizerKind* kind = FindKind(optimizer);
  const json& object = *snapshot.Object(name);
  const std::string type = object.value("type", "");
  if (type != kind->type) {
    problems.errors.push_back(fmt::format(
        "type mismatch: the checkpoint has the state of {}, the current optimizer is {}.",
        type.empty() ? "no optimizer" : type, kind->type));
    return;
  }
  auto& groups = optimizer.param_groups();
  const json stored = object.value("param_groups", json::array());
  if (!stored.is_array() || stored.size() != groups.size()) {
    problems.errors.push_back(
        fmt::format("loaded state dict has a different number of parameter groups: {} in the "
                    "checkpoint, {} in the current optimizer.",
                    stored.size(), groups.size()));
    return;
  }

  int64_t all_elements = 0;
  for (const auto& group : groups) {
    for (const torch::Tensor& parameter : group.params()) all_elements += parameter.numel();
  }
  std::vector<std::pair<Field, json>> options;
  LoadPlan states_plan;  // writes into `states`: planned only where these are kept
  using NewState = std::map<std::string, std::shared_ptr<OptimizerParamState>>;
  auto states = std::make_shared<NewState>();
  std::set<size_t> seen;
  bool groups_match = true;
  for (size_t g = 0; g < groups.size(); ++g) {
    json group = stored[g];
    std::vector<size_t> indices;
    if (!group.is_object() || !field::Decode(group.value("params", json()), &indices) ||
        indices.size() != groups[g].params().size()) {
      problems.errors.push_back(
          fmt::format("loaded state dict contains a parameter group that doesn't match the size of "
                      "optimizer's group: group {} has {} parameters in the checkpoint, {} in the "
                      "current optimizer.",
                      g, indices.size(), groups[g].params().size()));
      groups_match = false;
      continue;
    }
    group.erase("params");
    const auto matched = MatchFields(kind->options(groups[g].options()), group,
                                     fmt::format("param_groups.{}.", g), problems);
    options.insert(options.end(), matched.begin(), matched.end());

    for (size_t i = 0; i < indices.size(); ++i) {
      seen.insert(indices[i]);
      const std::string shown = fmt::format("state.{}.", indices[i]);
      const std::string prefix = fmt::format("{}/state/{}/", name, indices[i]);
      if (snapshot.KeysUnder(prefix).empty()) continue;  // it had not been stepped yet
      const torch::Tensor& parameter = groups[g].params()[i];
      StateLoader loader(snapshot, prefix, shown, parameter, all_elements, problems);
      if (auto state = loader.Load(*kind, states_plan)) states->emplace(StateKey(parameter), state);
    }
  }
  if (!groups_match) return;
  for (const std::string& key : snapshot.KeysUnder(name + "/state/")) {
    size_t index = 0;
    const std::string number = key.substr(0, key.find('/'));
    if (!field::Decode(json::parse(number, nullptr, false), &index) || !seen.contains(index)) {
      problems.unexpected.push_back("state." + number + key.substr(number.size()));
    }
  }

  plan.Append(std::move(states_plan));
  plan.finish.push_back([&optimizer, options, states] {
    for (const auto& [field, value] : options) field.Set(value);
    optimizer.state().clear();
    for (auto& [key, state] : *states) optimizer.state()[key] = state->clone();
  });
}

}  // namespace ckpt::libtorch
