#include "client/libtorch/optimizer_parts.h"

#include <torch/optim.h>

namespace ckpt::libtorch {
namespace {

using torch::optim::Optimizer;
using torch::optim::OptimizerOptions;
using torch::optim::OptimizerParamState;
namespace optim = torch::optim;

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
                      {"max_exp_avg_sq", &s.max_exp_avg_sq(), PartShape::kParameter, false}},
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
                      {"momentum_buffer", &s.momentum_buffer(), PartShape::kParameter, false},
                      {"grad_avg", &s.grad_avg(), PartShape::kParameter, false}},
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
          .tensors = {{"d", &s.d(), PartShape::kFlat, false},
                      {"H_diag", &s.H_diag(), PartShape::kAny, false},
                      {"prev_flat_grad", &s.prev_flat_grad(), PartShape::kFlat, false}},
          .lists = {{"old_dirs", &s.old_dirs(), PartShape::kFlat},
                    {"old_stps", &s.old_stps(), PartShape::kFlat},
                    {"ro", &s.ro(), PartShape::kAny}}};
}

template <class O, class Options, class ParamState>
OptimizerKind KindOf(const char* type) {
  return {type, [](const Optimizer& o) { return dynamic_cast<const O*>(&o) != nullptr; },
          [](OptimizerOptions& o) { return OptionFields(static_cast<Options&>(o)); },
          []() -> std::unique_ptr<OptimizerParamState> { return std::make_unique<ParamState>(); },
          [](OptimizerParamState& s) { return Parts(static_cast<ParamState&>(s)); }};
}

}  // namespace

const OptimizerKind* FindKind(const Optimizer& optimizer) {
  static const std::vector<OptimizerKind> kKinds = {
      KindOf<optim::SGD, optim::SGDOptions, optim::SGDParamState>("SGD"),
      KindOf<optim::Adam, optim::AdamOptions, optim::AdamParamState>("Adam"),
      KindOf<optim::AdamW, optim::AdamWOptions, optim::AdamWParamState>("AdamW"),
      KindOf<optim::Adagrad, optim::AdagradOptions, optim::AdagradParamState>("Adagrad"),
      KindOf<optim::RMSprop, optim::RMSpropOptions, optim::RMSpropParamState>("RMSprop"),
      KindOf<optim::LBFGS, optim::LBFGSOptions, optim::LBFGSParamState>("LBFGS"),
  };
  for (const OptimizerKind& kind : kKinds) {
    if (kind.is(optimizer)) return &kind;
  }
  return nullptr;
}

std::string StateKey(const torch::Tensor& parameter) {
  return c10::guts::to_string(parameter.unsafeGetTensorImpl());
}

}  // namespace ckpt::libtorch
