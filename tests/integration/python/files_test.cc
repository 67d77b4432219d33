// Writes a training state as a directory, a .safetensors and a .pt file, and
// has Python open all three, compare them and go on training.
#include <gtest/gtest.h>

#include <cstdlib>

#include <fmt/format.h>

#include "tests/testing/temp_dir.h"
#include "tests/unit/client/ckptctl/memory_shard.h"

namespace ckpt::ctl {
namespace {

constexpr char kPython[] = "/usr/bin/python3";

// What is in an optimizer's state for each parameter besides its step.
struct Optimizer {
  const char* type;
  const char* group;  // JSON, without params
  bool counts_steps;
  std::vector<std::string> tensors;
};

const Optimizer kOptimizers[] = {
    {"SGD",
     R"("lr": 0.1, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.01, "nesterov": false)",
     false,
     {"momentum_buffer"}},
    {"Adam",
     R"("lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "amsgrad": true)",
     true,
     {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}},
    {"AdamW",
     R"("lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "amsgrad": false)",
     true,
     {"exp_avg", "exp_avg_sq"}},
    {"RMSprop",
     R"("lr": 0.01, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.9,
        "centered": true)",
     true,
     {"square_avg", "momentum_buffer", "grad_avg"}},
    {"Adagrad",
     R"("lr": 0.01, "lr_decay": 0.0, "weight_decay": 0.0, "initial_accumulator_value": 0.0,
        "eps": 1e-10)",
     true,
     {"sum"}},
};

// Bytes that differ from entry to entry and are fine values of every dtype.
class Values {
 public:
  std::string Floats(size_t n) {
    std::string bytes;
    for (size_t i = 0; i < n; ++i) {
      const float value = 0.01f * static_cast<float>(++next_ % 97) + 0.001f;
      bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
    return bytes;
  }
  std::string Patterns(DType dtype, size_t n) {
    std::string bytes(n * ElementBytes(dtype), '\0');
    for (char& c : bytes) c = static_cast<char>(dtype == DType::kBool ? ++next_ % 2 : ++next_ % 60);
    return bytes;
  }

 private:
  unsigned next_ = 0;
};

void Add(State& state, std::string name, DType dtype, std::vector<int64_t> shape,
         std::string bytes) {
  StateEntry entry;
  entry.name = std::move(name);
  entry.dtype = dtype;
  entry.shape = std::move(shape);
  entry.length = bytes.size();
  entry.owned = std::move(bytes);
  state.Add(std::move(entry));
}

// As the adapter lays out a Linear(10, 4), Linear(4, 2) after 42 steps.
State TrainingState(const Optimizer& optimizer) {
  State state;
  Values values;
  const std::pair<const char*, std::vector<int64_t>> kParameters[] = {
      {"0.weight", {4, 10}}, {"0.bias", {4}}, {"1.weight", {2, 4}}, {"1.bias", {2}}};
  const auto elements = [](const std::vector<int64_t>& shape) {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return static_cast<size_t>(n);
  };
  std::string keys, state_keys;
  for (size_t i = 0; i < 4; ++i) {
    const auto& [name, shape] = kParameters[i];
    Add(state, fmt::format("model/{}", name), DType::kF32, shape, values.Floats(elements(shape)));
    keys += fmt::format("{}\"{}\"", i ? ", " : "", name);
  }
  for (size_t i = 0; i < 4; ++i) {
    const auto& shape = kParameters[i].second;
    const std::string prefix = fmt::format("optimizer/state/{}/", i);
    const int64_t step = 42;
    if (optimizer.counts_steps) {
      Add(state, prefix + "step", DType::kI64, {},
          std::string(reinterpret_cast<const char*>(&step), sizeof(step)));
    }
    for (const std::string& key : optimizer.tensors) {
      Add(state, prefix + key, DType::kF32, shape, values.Floats(elements(shape)));
    }
  }
  std::string objects;
  const auto extra = [&](const std::string& name, DType dtype, std::vector<int64_t> shape) {
    Add(state, name, dtype, shape, values.Patterns(dtype, elements(shape)));
    objects += fmt::format(R"("{}": {{"kind": "tensor"}}, )", name);
  };
  for (int d = 1; d <= static_cast<int>(DType::kC128); ++d) {
    const auto dtype = static_cast<DType>(d);
    extra(fmt::format("extra_{}", DTypeName(dtype)), dtype, {3, 2});
  }
  extra("extra_scalar", DType::kF64, {});
  extra("extra_empty", DType::kF32, {0, 5});
  extra("extra_large", DType::kF32, {1500, 1000});  // more than a chunk
  state.AddBytes("rng/cpu", std::string(5056, '\1'));
  state.AddBytes("note", "opaque \xff bytes");
  state.AddBytes("ckpt.json", fmt::format(R"({{"format": "ckpt.state.v1", "objects": {{{}
    "model": {{"kind": "module", "keys": [{}]}},
    "optimizer": {{"kind": "optimizer", "type": "{}",
                   "param_groups": [{{{}, "params": [0, 1, 2, 3]}}], "state_keys": {{}}}},
    "scheduler": {{"kind": "scheduler", "type": "StepLR",
                   "state": {{"step_size": 5, "gamma": 0.5, "base_lrs": [0.1], "last_epoch": 3,
                              "_step_count": 4, "_last_lr": [0.1]}}}},
    "plateau": {{"kind": "scheduler", "type": "ReduceLROnPlateau",
                 "state": {{"best": {{"$float": "inf"}}, "num_bad_epochs": 2, "factor": 0.5}}}},
    "rng": {{"kind": "rng"}},
    "note": {{"kind": "bytes"}},
    "best_metric": {{"kind": "value", "value": 0.1}},
    "epoch": {{"kind": "value", "value": 3}}}}}})",
                                          objects, keys, optimizer.type, optimizer.group));
  return state;
}

class PythonFiles : public ::testing::TestWithParam<Optimizer> {};

TEST_P(PythonFiles, AreEqualAndTrainingGoesOn) {
  ASSERT_EQ(std::system(fmt::format("{} -c 'import torch' 2>/dev/null", kPython).c_str()), 0)
      << "Python's torch is missing: install python3-torch";
  const ckptd::os::TempDir folder;
  const MemoryShard shard(TrainingState(GetParam()));
  // The .safetensors format has no complex numbers.
  std::vector<std::string> real;
  for (const Entry& entry : shard.manifest.entries) {
    if (entry.dtype != DType::kC64 && entry.dtype != DType::kC128) real.push_back(entry.name);
  }
  ASSERT_TRUE(shard.Fetch(folder / "raw").ok());
  const absl::Status safetensors = shard.Fetch(folder / "x.safetensors", real);
  ASSERT_TRUE(safetensors.ok()) << safetensors;
  ASSERT_TRUE(shard.Fetch(folder / "x.pt").ok());
  const std::string command =
      fmt::format("{} {} {} {}", kPython, CHECK_SCRIPT, folder.path(), GetParam().type);
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
}

INSTANTIATE_TEST_SUITE_P(Optimizers, PythonFiles, ::testing::ValuesIn(kOptimizers),
                         [](const auto& info) { return std::string(info.param.type); });

}  // namespace
}  // namespace ckpt::ctl
