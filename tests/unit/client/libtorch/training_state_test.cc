#include "client/libtorch/training_state.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/unit/client/libtorch/memory_checkpoint.h"

namespace ckpt::libtorch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
namespace nn = torch::nn;

// Parameters and, by the normalization, buffers of two types.
struct NetImpl : nn::Module {
  explicit NetImpl(int64_t out = 3, bool batch_norm = true) {
    fc = register_module("fc", nn::Linear(4, out));
    if (batch_norm) norm = register_module("norm", nn::BatchNorm1d(out));
  }
  nn::Linear fc{nullptr};
  nn::BatchNorm1d norm{nullptr};
};
TORCH_MODULE(Net);

TrainingState StateOf(Net& net) {
  TrainingState state;
  state.Add("model", net);
  return state;
}

Net RandomNet() {
  Net net;
  torch::NoGradGuard no_grad;
  for (auto& parameter : net->parameters()) parameter.normal_();
  net->norm->running_mean.normal_();
  net->norm->num_batches_tracked.fill_(41);
  return net;
}

void ExpectEqual(const Net& a, const Net& b) {
  const auto parameters = b->named_parameters();
  for (const auto& item : a->named_parameters()) {
    EXPECT_TRUE(torch::equal(item.value(), parameters[item.key()])) << item.key();
  }
  const auto buffers = b->named_buffers();
  for (const auto& item : a->named_buffers()) {
    EXPECT_TRUE(torch::equal(item.value(), buffers[item.key()])) << item.key();
  }
}

TEST(TrainingStateTest, RestoresParametersAndBuffers) {
  Net saved = RandomNet();
  auto checkpoint = MemoryCheckpoint::Of(StateOf(saved));
  Net loaded;
  const auto summary = StateOf(loaded).Load(checkpoint.Source());
  ASSERT_TRUE(summary.ok()) << summary.status();
  ExpectEqual(saved, loaded);
  EXPECT_TRUE(loaded->fc->weight.requires_grad());
}

TEST(TrainingStateTest, NamesEntriesAsPyTorchDoes) {
  Net net;
  std::vector<std::string> names;
  for (const Entry& entry : MemoryCheckpoint::Of(StateOf(net)).manifest.entries) {
    names.push_back(entry.name);
  }
  EXPECT_THAT(
      names, ElementsAre("model/fc.weight", "model/fc.bias", "model/norm.weight", "model/norm.bias",
                         "model/norm.running_mean", "model/norm.running_var",
                         "model/norm.num_batches_tracked", "ckpt.json"));
}

// ---- Mismatches ---------------------------------------------------------------

TEST(TrainingStateTest, ListsEverythingThatDoesNotFitInOneError) {
  Net saved = RandomNet();
  auto checkpoint = MemoryCheckpoint::Of(StateOf(saved));
  for (Entry& entry : checkpoint.manifest.entries) {
    if (entry.name == "model/norm.bias") entry.name = "model/norm.shift";
    if (entry.name == "model/norm.running_mean") entry.name = "model/norm.running_median";
    if (entry.name == "model/fc.bias") entry.dtype = DType::kI32;
    if (entry.name == "model/fc.weight") entry.shape = {2, 6};
  }
  Net loaded = RandomNet();
  Net before = RandomNet();
  {
    TrainingState copy = StateOf(before);
    auto same = MemoryCheckpoint::Of(StateOf(loaded));
    ASSERT_TRUE(copy.Load(same.Source()).ok());
  }

  const auto summary = StateOf(loaded).Load(checkpoint.Source());

  EXPECT_EQ(summary.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(summary.status().message(),
            "Error(s) in loading state_dict for Net:\n"
            "\tMissing key(s) in state_dict: \"norm.bias\", \"norm.running_mean\". \n"
            "\tUnexpected key(s) in state_dict: \"norm.running_median\", \"norm.shift\". \n"
            "\tsize mismatch for fc.weight: copying a param with shape torch.Size([2, 6]) from "
            "checkpoint, the shape in current model is torch.Size([3, 4]).\n"
            "\tdtype mismatch for fc.bias: copying a param with dtype torch.int32 from "
            "checkpoint, the dtype in current model is torch.float32.");
  ExpectEqual(before, loaded);
  EXPECT_THAT(checkpoint.fetched, ElementsAre("ckpt.json")) << "compared before anything is sent";
}

TEST(TrainingStateTest, OneMisfitKeepsEveryObjectAsItWas) {
  Net saved = RandomNet();
  int64_t epoch = 7;
  TrainingState state = StateOf(saved);
  state.Add("epoch", &epoch);
  auto checkpoint = MemoryCheckpoint::Of(state);

  Net other(5);
  const torch::Tensor weight = other->fc->weight.detach().clone();
  int64_t loaded_epoch = 1;
  TrainingState into = StateOf(other);
  into.Add("epoch", &loaded_epoch);
  EXPECT_FALSE(into.Load(checkpoint.Source()).ok());
  EXPECT_EQ(loaded_epoch, 1);
  EXPECT_TRUE(torch::equal(other->fc->weight, weight));
}

TEST(TrainingStateTest, NonStrictLoadsWhatFitsAndReportsTheRest) {
  Net saved = RandomNet();
  auto checkpoint = MemoryCheckpoint::Of(StateOf(saved));
  Net loaded(3, /*batch_norm=*/false);
  std::string note = "untouched";
  TrainingState into = StateOf(loaded);
  into.AddBytes("note", &note);

  const auto summary = into.Load(checkpoint.Source(), {.strict = false, .progress = nullptr});

  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_TRUE(torch::equal(saved->fc->weight, loaded->fc->weight));
  EXPECT_EQ(note, "untouched");
  ASSERT_EQ(summary->mismatches.size(), 2);
  EXPECT_THAT(summary->mismatches[0], HasSubstr("Unexpected key(s) in state_dict: \"norm.bias\""));
  EXPECT_THAT(summary->mismatches[1], HasSubstr("Missing key(s) in state_dict: \"note\""));
}

TEST(TrainingStateTest, ObjectsThatNobodyAskedForAreIgnored) {
  Net saved = RandomNet();
  TrainingState state = StateOf(saved);
  int64_t epoch = 1;
  state.Add("epoch", &epoch);
  auto checkpoint = MemoryCheckpoint::Of(state);
  Net loaded;
  const auto summary = StateOf(loaded).Load(checkpoint.Source());
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_THAT(summary->ignored, ElementsAre("epoch"));
}

TEST(TrainingStateTest, ASchedulerOfAnotherTypeIsRefused) {
  torch::optim::SGD optimizer({torch::zeros({1})}, torch::optim::SGDOptions(0.1));
  StepLR saved(optimizer, 3);
  TrainingState state;
  state.Add("scheduler", saved);
  auto checkpoint = MemoryCheckpoint::Of(state);
  ReduceLROnPlateau loaded(optimizer);
  TrainingState into;
  into.Add("scheduler", loaded);
  EXPECT_EQ(into.Load(checkpoint.Source()).status().message(),
            "Error(s) in loading state_dict for scheduler (ReduceLROnPlateau):\n\ttype mismatch: "
            "the checkpoint has the state of StepLR, the current one is ReduceLROnPlateau.");
}

// ---- Values, tensors, generators ----------------------------------------------

struct Values {
  bool flag = false;
  int64_t epoch = 0;
  uint32_t small = 0;
  double best = 0;
  std::string name;
  std::vector<double> history;
  std::string bytes;
  torch::Tensor tensor;
  int64_t sampler_epoch = 0, sampler_position = 0;

  TrainingState State() {
    TrainingState state;
    state.Add("flag", &flag);
    state.Add("epoch", &epoch);
    state.Add("small", &small);
    state.Add("best", &best);
    state.Add("name", &name);
    state.Add("history", &history);
    state.AddBytes("bytes", &bytes);
    state.Add("tensor", &tensor);
    state.Add("sampler", {{"epoch", &sampler_epoch}, {"position", &sampler_position}});
    return state;
  }
};

TEST(TrainingStateTest, RestoresValuesBitForBit) {
  const double kInf = std::numeric_limits<double>::infinity();
  for (const double best : {0.1, -0.0, kInf, -kInf, 5e-324, 1.7976931348623157e308, 1.0 / 3}) {
    Values saved{.flag = true,
                 .epoch = std::numeric_limits<int64_t>::min(),
                 .small = 4294967295u,
                 .best = best,
                 .name = "gpt \"x\" \u00e9",
                 .history = {1.5, kInf, 0.1},
                 .bytes = std::string("\0\xff\x01", 3),
                 .tensor = torch::arange(6, torch::kInt16).view({2, 3}),
                 .sampler_epoch = 2,
                 .sampler_position = 77};
    auto checkpoint = MemoryCheckpoint::Of(saved.State());
    Values loaded;
    const auto summary = loaded.State().Load(checkpoint.Source());
    ASSERT_TRUE(summary.ok()) << summary.status();
    EXPECT_EQ(loaded.flag, true);
    EXPECT_EQ(loaded.epoch, saved.epoch);
    EXPECT_EQ(loaded.small, saved.small);
    EXPECT_EQ(std::bit_cast<uint64_t>(loaded.best), std::bit_cast<uint64_t>(best)) << best;
    EXPECT_EQ(loaded.name, saved.name);
    EXPECT_EQ(loaded.history, saved.history);
    EXPECT_EQ(loaded.bytes, saved.bytes);
    EXPECT_TRUE(torch::equal(loaded.tensor, saved.tensor));
    EXPECT_EQ(loaded.sampler_position, 77);
  }
}

TEST(TrainingStateTest, AValueThatDoesNotFitItsVariableIsRefused) {
  int64_t saved = 1LL << 40;
  TrainingState state;
  state.Add("count", &saved);
  auto checkpoint = MemoryCheckpoint::Of(state);
  int32_t loaded = 5;
  TrainingState into;
  into.Add("count", &loaded);
  EXPECT_THAT(std::string(into.Load(checkpoint.Source()).status().message()),
              HasSubstr("value mismatch for value: the checkpoint has 1099511627776"));
  EXPECT_EQ(loaded, 5);
}

TEST(TrainingStateTest, RestoresTheGenerator) {
  TrainingState state;
  state.AddRng();
  torch::manual_seed(5);
  torch::randn({3});  // leaves half a pair of normal numbers behind
  auto checkpoint = MemoryCheckpoint::Of(state);
  const auto expected = torch::randn({64});
  torch::manual_seed(6);
  ASSERT_TRUE(state.Load(checkpoint.Source()).ok());
  EXPECT_TRUE(torch::equal(torch::randn({64}), expected));
}

TEST(TrainingStateTest, TensorsOfEveryTypeAndLayout) {
  const auto base = torch::randn({4, 6}) * 50;
  std::vector<torch::Tensor> tensors;
  for (const auto type : {torch::kDouble, torch::kFloat, torch::kHalf, torch::kBFloat16,
                          torch::kLong, torch::kInt, torch::kShort, torch::kChar, torch::kByte,
                          torch::kBool, torch::kComplexFloat, torch::kComplexDouble}) {
    tensors.push_back(base.to(type));
    tensors.push_back(base.to(type).t());                // not contiguous
    tensors.push_back(base.to(type).slice(1, 1, 6, 2));  // strided
    tensors.push_back(torch::zeros({}, type));           // a scalar
    tensors.push_back(torch::zeros({0, 3}, type));       // empty
  }
  tensors.push_back(base.to(torch::kComplexFloat).conj());  // conjugated lazily
  for (torch::Tensor& saved : tensors) {
    TrainingState state;
    state.Add("x", &saved);
    auto checkpoint = MemoryCheckpoint::Of(state);
    torch::Tensor in_place = torch::zeros_like(saved);
    torch::Tensor made;
    for (torch::Tensor* loaded : {&in_place, &made}) {
      TrainingState into;
      into.Add("x", loaded);
      const auto summary = into.Load(checkpoint.Source());
      ASSERT_TRUE(summary.ok()) << summary.status();
      EXPECT_TRUE(torch::equal(*loaded, saved)) << saved.scalar_type() << saved.sizes();
    }
  }
}

// ---- Bad additions ------------------------------------------------------------

TEST(TrainingStateTest, RefusesNamesThatCannotBe) {
  int64_t value = 0;
  for (const std::string name : {"", "a/b", "ckpt.json", "line\nbreak", "rng/cpu"}) {
    TrainingState state;
    state.Add(name, &value);
    EXPECT_EQ(state.Capture().status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  TrainingState twice;
  twice.Add("epoch", &value);
  twice.Add("epoch", &value);
  EXPECT_THAT(std::string(twice.Capture().status().message()),
              HasSubstr("two objects named \"epoch\""));
}

TEST(TrainingStateTest, RefusesTensorsThatNoCheckpointHolds) {
  torch::Tensor undefined;
  torch::Tensor sparse = torch::zeros({2, 2}).to_sparse();
  for (torch::Tensor* tensor : {&undefined, &sparse}) {
    TrainingState state;
    state.Add("x", tensor);
    EXPECT_EQ(state.Capture().status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace ckpt::libtorch
