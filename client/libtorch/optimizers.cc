#include "client/libtorch/optimizers.h"

#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include <torch/optim.h>

namespace ckpt::libtorch {
namespace {

using nlohmann::json;
using torch::optim::Optimizer;
using torch::optim::OptimizerOptions;
using torch::optim::OptimizerParamState;
namespace optim = torch::optim;

// ---- What each optimizer is made of ---------------------------------------

enum class Shape {
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
    Shape shape = Shape::kParameter;
    bool required = true;  // else undefined when the option that wants it is off
  };
  struct List {
    std::string key;  // elements are key.0, key.1, ...
    std::deque<torch::Tensor>* tensors;
    Shape shape;
  };
  std::vector<std::pair<std::string, int64_t*>> counters;
  std::vector<std::pair<std::string, double*>> numbers;
  std::vector<Tensor> tensors;
  std::vector<List> lists;
};

std::vector<Field> OptionFields(optim::SGDOptions& o) {
  return {{"lr", &o.lr()},
          {"momentum", &o.momentum()},
          {"dampening", &o.dampening()},
          {"weight_decay", &o.weight_decay()},
          {"nesterov", &o.nesterov()}};
}
StateParts Parts(optim::SGDParamState& s) {
  return {.counters = {},
          .numbers = {},
          .tensors = {{"momentum_buffer", &s.momentum_buffer()}},
          .lists = {}};
}

template <class AdamLikeOptions>
std::vector<Field> AdamOptionFields(AdamLikeOptions& o) {
  return {{"lr", &o.lr()},
          {"betas", &o.betas()},
          {"eps", &o.eps()},
          {"weight_decay", &o.weight_decay()},
          {"amsgrad", &o.amsgrad()}};
}
template <class AdamLikeState>
StateParts AdamParts(AdamLikeState& s) {
  return {.counters = {{"step", &s.step()}},
          .numbers = {},
          .tensors = {{"exp_avg", &s.exp_avg()},
                      {"exp_avg_sq", &s.exp_avg_sq()},
                      {"max_exp_avg_sq", &s.max_exp_avg_sq(), Shape::kParameter, false}},
          .lists = {}};
}
std::vector<Field> OptionFields(optim::AdamOptions& o) { return AdamOptionFields(o); }
StateParts Parts(optim::AdamParamState& s) { return AdamParts(s); }
std::vector<Field> OptionFields(optim::AdamWOptions& o) { return AdamOptionFields(o); }
StateParts Parts(optim::AdamWParamState& s) { return AdamParts(s); }

std::vector<Field> OptionFields(optim::AdagradOptions& o) {
  return {{"lr", &o.lr()},
          {"lr_decay", &o.lr_decay()},
          {"weight_decay", &o.weight_decay()},
          {"initial_accumulator_value", &o.initial_accumulator_value()},
          {"eps", &o.eps()}};
}
StateParts Parts(optim::AdagradParamState& s) {
  return {.counters = {{"step", &s.step()}},
          .numbers = {},
          .tensors = {{"sum", &s.sum()}},
          .lists = {}};
}

std::vector<Field> OptionFields(optim::RMSpropOptions& o) {
  return {{"lr", &o.lr()},
          {"alpha", &o.alpha()},
          {"eps", &o.eps()},
          {"weight_decay", &o.weight_decay()},
          {"momentum", &o.momentum()},
          {"centered", &o.centered()}};
}
StateParts Parts(optim::RMSpropParamState& s) {
  return {.counters = {{"step", &s.step()}},
          .numbers = {},
          .tensors = {{"square_avg", &s.square_avg()},
                      {"momentum_buffer", &s.momentum_buffer(), Shape::kParameter, false},
                      {"grad_avg", &s.grad_avg(), Shape::kParameter, false}},
          .lists = {}};
}

std::vector<Field> OptionFields(optim::LBFGSOptions& o) {
  return {{"lr", &o.lr()},
          {"max_iter", &o.max_iter()},
          {"max_eval", &o.max_eval()},
          {"tolerance_grad", &o.tolerance_grad()},
          {"tolerance_change", &o.tolerance_change()},
          {"history_size", &o.history_size()},
          {"line_search_fn", &o.line_search_fn()}};
}
// `al` is left out: every step computes it anew.
StateParts Parts(optim::LBFGSParamState& s) {
  return {.counters = {{"func_evals", &s.func_evals()}, {"n_iter", &s.n_iter()}},
          .numbers = {{"t", &s.t()}, {"prev_loss", &s.prev_loss()}},
          .tensors = {{"d", &s.d(), Shape::kFlat, false},
                      {"H_diag", &s.H_diag(), Shape::kAny, false},
                      {"prev_flat_grad", &s.prev_flat_grad(), Shape::kFlat, false}},
          .lists = {{"old_dirs", &s.old_dirs(), Shape::kFlat},
                    {"old_stps", &s.old_stps(), Shape::kFlat},
                    {"ro", &s.ro(), Shape::kAny}}};
}

struct Kind {
  const char* type;
  bool (*is)(const Optimizer&);
  std::vector<Field> (*options)(OptimizerOptions&);
  std::unique_ptr<OptimizerParamState> (*new_state)();
  StateParts (*parts)(OptimizerParamState&);
};

template <class O, class Options, class ParamState>
Kind KindOf(const char* type) {
  return {type, [](const Optimizer& o) { return dynamic_cast<const O*>(&o) != nullptr; },
          [](OptimizerOptions& o) { return OptionFields(static_cast<Options&>(o)); },
          []() -> std::unique_ptr<OptimizerParamState> { return std::make_unique<ParamState>(); },
          [](OptimizerParamState& s) { return Parts(static_cast<ParamState&>(s)); }};
}

const Kind* FindKind(const Optimizer& optimizer) {
  static const std::vector<Kind> kKinds = {
      KindOf<optim::SGD, optim::SGDOptions, optim::SGDParamState>("SGD"),
      KindOf<optim::Adam, optim::AdamOptions, optim::AdamParamState>("Adam"),
      KindOf<optim::AdamW, optim::AdamWOptions, optim::AdamWParamState>("AdamW"),
      KindOf<optim::Adagrad, optim::AdagradOptions, optim::AdagradParamState>("Adagrad"),
      KindOf<optim::RMSprop, optim::RMSpropOptions, optim::RMSpropParamState>("RMSprop"),
      KindOf<optim::LBFGS, optim::LBFGSOptions, optim::LBFGSParamState>("LBFGS"),
  };
  for (const Kind& kind : kKinds) {
    if (kind.is(optimizer)) return &kind;
  }
  return nullptr;
}

// LibTorch keys a parameter's state by the address of its implementation.
std::string StateKey(const torch::Tensor& parameter) {
  return c10::guts::to_string(parameter.unsafeGetTensorImpl());
}

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
  std::shared_ptr<OptimizerParamState> Load(const Kind& kind, LoadPlan& plan) {
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

  void Tensor(const std::string& key, Shape shape, torch::Tensor* into) {
    const Entry* entry = Claim(key);
    if (entry == nullptr) return;
    const DType dtype = DTypeOf(parameter_.scalar_type());
    if (entry->dtype != dtype) {
      return Refuse(key, "dtype", TorchDTypeName(entry->dtype), TorchDTypeName(dtype));
    }
    std::vector<int64_t> wanted = entry->shape;
    if (shape == Shape::kParameter) wanted = parameter_.sizes().vec();
    if (shape == Shape::kFlat) wanted = {all_elements_};
    if (entry->shape != wanted) {
      return Refuse(key, "size", TorchSize(entry->shape), TorchSize(wanted));
    }
    // In the parameter's memory layout, as the optimizer itself would make it.
    *into = shape == Shape::kParameter
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
  const Kind* kind = FindKind(optimizer);
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
  const Kind& kind = *FindKind(optimizer);
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

// ---- Load ---------------------------------------------------------------------

void PlanOptimizer(const std::string& name, Optimizer& optimizer, const Snapshot& snapshot,
                   LoadPlan& plan, Problems& problems) {
  const Kind* kind = FindKind(optimizer);
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
      if (auto state = loader.Load(*kind, plan)) states->emplace(StateKey(parameter), state);
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

  plan.finish.push_back([&optimizer, options, states] {
    for (const auto& [field, value] : options) field.Set(value);
    optimizer.state().clear();
    for (auto& [key, state] : *states) optimizer.state()[key] = state->clone();
  });
}

}  // namespace ckpt::libtorch
