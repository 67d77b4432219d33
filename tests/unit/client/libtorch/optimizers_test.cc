// Every optimizer, stopped after some steps and continued in a new process's
// place, ends bit for bit where one that was not stopped ends.
#include "client/libtorch/optimizers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "client/libtorch/training_state.h"
#include "tests/unit/client/libtorch/memory_checkpoint.h"

namespace ckpt::libtorch {
namespace {

namespace nn = torch::nn;
namespace optim = torch::optim;

// Two param groups where the optimizer allows it.
struct Case {
  const char* name;
  std::function<std::unique_ptr<optim::Optimizer>(nn::Sequential&)> make;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

template <class Optimizer, class Options>
std::function<std::unique_ptr<optim::Optimizer>(nn::Sequential&)> TwoGroups(Options first,
                                                                            Options second) {
  return [=](nn::Sequential& model) -> std::unique_ptr<optim::Optimizer> {
    std::vector<optim::OptimizerParamGroup> groups;
    groups.emplace_back(model[0]->parameters(), std::make_unique<Options>(first));
    groups.emplace_back(model[2]->parameters(), std::make_unique<Options>(second));
    return std::make_unique<Optimizer>(std::move(groups), first);
  };
}

const Case kCases[] = {
    {"Sgd", TwoGroups<optim::SGD>(optim::SGDOptions(0.1), optim::SGDOptions(0.01))},
    {"SgdMomentum", TwoGroups<optim::SGD>(optim::SGDOptions(0.1).momentum(0.9),
                                          optim::SGDOptions(0.03).momentum(0.7).nesterov(true))},
    {"Adam",
     TwoGroups<optim::Adam>(optim::AdamOptions(0.01), optim::AdamOptions(0.002).weight_decay(0.1))},
    {"AdamAmsgrad", TwoGroups<optim::Adam>(optim::AdamOptions(0.01).amsgrad(true),
                                           optim::AdamOptions(0.002).betas({0.8, 0.99}))},
    {"AdamW", TwoGroups<optim::AdamW>(optim::AdamWOptions(0.01),
                                      optim::AdamWOptions(0.002).amsgrad(true).eps(1e-6))},
    {"Adagrad", TwoGroups<optim::Adagrad>(
                    optim::AdagradOptions(0.05).lr_decay(0.01).initial_accumulator_value(0.25),
                    optim::AdagradOptions(0.01))},
    {"Rmsprop", TwoGroups<optim::RMSprop>(optim::RMSpropOptions(0.01).momentum(0.9).centered(true),
                                          optim::RMSpropOptions(0.001))},
    {"Lbfgs",
     [](nn::Sequential& model)
         -> std::
             unique_ptr<optim::Optimizer> {
               return std::make_unique<optim::LBFGS>(
                   model->parameters(),
                   optim::LBFGSOptions(0.5).max_iter(4).history_size(3).line_search_fn(
                       "strong_wolfe"));
             }},
};

nn::Sequential Model() { return nn::Sequential(nn::Linear(6, 8), nn::Tanh(), nn::Linear(8, 3)); }

void Step(nn::Sequential& model, optim::Optimizer& optimizer) {
  const auto x = torch::randn({16, 6});
  const auto y = torch::randn({16, 3});
  optimizer.step([&] {
    optimizer.zero_grad();
    auto loss = torch::mse_loss(model->forward(x), y);
    loss.backward();
    return loss;
  });
}

TrainingState StateOf(nn::Sequential& model, optim::Optimizer& optimizer) {
  TrainingState state;
  state.Add("model", model);
  state.Add("optimizer", optimizer);
  state.AddRng();
  return state;
}

class OptimizerTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override { torch::set_num_threads(1); }
};

TEST_P(OptimizerTest, ContinuesBitForBit) {
  for (const int before : {0, 1, 5}) {
    SCOPED_TRACE(testing::Message() << "saved after " << before << " steps");
    torch::manual_seed(3);
    auto whole = Model();
    auto whole_optimizer = GetParam().make(whole);
    for (int i = 0; i < before; ++i) Step(whole, *whole_optimizer);
    auto checkpoint = MemoryCheckpoint::Of(StateOf(whole, *whole_optimizer));
    for (int i = 0; i < 7; ++i) Step(whole, *whole_optimizer);
    auto expected = MemoryCheckpoint::Of(StateOf(whole, *whole_optimizer));

    torch::manual_seed(99);
    auto resumed = Model();
    auto resumed_optimizer = GetParam().make(resumed);
    for (auto& group : resumed_optimizer->param_groups()) group.options().set_lr(123);
    Step(resumed, *resumed_optimizer);  // whatever was there is replaced
    const auto loaded = StateOf(resumed, *resumed_optimizer).Load(checkpoint.Source());
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(MemoryCheckpoint::Of(StateOf(resumed, *resumed_optimizer)).bytes, checkpoint.bytes);

    for (int i = 0; i < 7; ++i) Step(resumed, *resumed_optimizer);
    auto ended = MemoryCheckpoint::Of(StateOf(resumed, *resumed_optimizer));
    EXPECT_EQ(ended.manifest.entries, expected.manifest.entries);
    EXPECT_EQ(ended.bytes, expected.bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(All, OptimizerTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

// ---- What does not fit --------------------------------------------------------

uint64_t TensorBytesIn(const TrainingState& state) {
  uint64_t bytes = 0;
  const auto captured = state.Capture();
  EXPECT_TRUE(captured.ok()) << captured.status();
  for (const StateEntry& entry : captured->entries()) {
    if (entry.data != nullptr) bytes += entry.length;
  }
  return bytes;
}

TEST_P(OptimizerTest, TheStateToComeIsForetold) {
  auto model = Model();
  const auto optimizer = GetParam().make(model);
  TrainingState state;
  state.Add("model", *model);
  state.Add("optimizer", *optimizer);
  const uint64_t to_come = OptimizerBytesToCome(*optimizer);
  const uint64_t before = TensorBytesIn(state);
  EXPECT_GE(*state.ExpectedBytes(), before + to_come);
  Step(model, *optimizer);
  EXPECT_EQ(OptimizerBytesToCome(*optimizer), 0u);
  const uint64_t grown = TensorBytesIn(state) - before;
  // What an option adds beside (amsgrad, centered) and LBFGS's history are not.
  EXPECT_LE(to_come, grown);
  const std::string name = GetParam().name;
  if (name == "Sgd" || name == "SgdMomentum" || name == "Adam" || name == "Adagrad") {
    EXPECT_EQ(to_come, grown);
  }
}

// Saves a model with AdamW that was stepped once.
MemoryCheckpoint Saved() {
  torch::manual_seed(1);
  auto model = Model();
  optim::AdamW optimizer(model->parameters(), optim::AdamWOptions(0.01));
  Step(model, optimizer);
  TrainingState state;
  state.Add("optimizer", optimizer);
  return MemoryCheckpoint::Of(state);
}

absl::Status LoadInto(optim::Optimizer& optimizer, MemoryCheckpoint& checkpoint) {
  TrainingState state;
  state.Add("optimizer", optimizer);
  return state.Load(checkpoint.Source()).status();
}

TEST(OptimizerMismatchTest, AnotherType) {
  auto checkpoint = Saved();
  auto model = Model();
  optim::SGD optimizer(model->parameters(), optim::SGDOptions(0.01));
  EXPECT_EQ(LoadInto(optimizer, checkpoint).message(),
            "Error(s) in loading state_dict for optimizer (SGD):\n\ttype mismatch: the checkpoint "
            "has the state of AdamW, the current optimizer is SGD.");
}

TEST(OptimizerMismatchTest, AnotherNumberOfParameters) {
  auto checkpoint = Saved();
  auto model = Model();
  optim::AdamW optimizer(model[0]->parameters(), optim::AdamWOptions(0.01));
  EXPECT_EQ(LoadInto(optimizer, checkpoint).message(),
            "Error(s) in loading state_dict for optimizer (AdamW):\n\tloaded state dict contains "
            "a parameter group that doesn't match the size of optimizer's group: group 0 has 4 "
            "parameters in the checkpoint, 2 in the current optimizer.");
}

TEST(OptimizerMismatchTest, AnotherShapeLeavesTheOptimizerAsItWas) {
  auto checkpoint = Saved();
  nn::Sequential model(nn::Linear(6, 8), nn::Tanh(), nn::Linear(8, 4));
  optim::AdamW optimizer(model->parameters(), optim::AdamWOptions(0.5));
  const absl::Status status = LoadInto(optimizer, checkpoint);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("size mismatch for state.2.exp_avg: the checkpoint has "
                                 "torch.Size([3, 8]), the current optimizer wants torch.Size([4, "
                                 "8])."));
  EXPECT_EQ(LearningRates(optimizer), std::vector<double>{0.5});
  EXPECT_TRUE(optimizer.state().empty());
}

// Its first group fits, and what was planned for it has nowhere to go.
TEST(OptimizerMismatchTest, AnotherGroupLeavesTheOptimizerAsItWasWithoutStrictToo) {
  const auto grouped = [](nn::Sequential& model, std::vector<torch::Tensor> second) {
    return optim::AdamW({optim::OptimizerParamGroup(model[0]->parameters()),
                         optim::OptimizerParamGroup(std::move(second))},
                        optim::AdamWOptions(0.01));
  };
  auto saved = Model();
  optim::AdamW saved_optimizer = grouped(saved, saved[2]->parameters());
  Step(saved, saved_optimizer);
  TrainingState state;
  state.Add("optimizer", saved_optimizer);
  auto checkpoint = MemoryCheckpoint::Of(state);

  auto model = Model();
  optim::AdamW optimizer = grouped(model, {model[2]->parameters().front()});
  TrainingState into;
  into.Add("optimizer", optimizer);
  const auto summary = into.Load(checkpoint.Source(), {.strict = false, .progress = nullptr});

  ASSERT_TRUE(summary.ok()) << summary.status();
  ASSERT_EQ(summary->mismatches.size(), 1);
  EXPECT_THAT(summary->mismatches[0], testing::HasSubstr("group 1 has 2 parameters"));
  EXPECT_TRUE(optimizer.state().empty());
  EXPECT_THAT(checkpoint.fetched, testing::Not(testing::Contains(testing::StartsWith("optimizer/"))));
}

TEST(OptimizerMismatchTest, MissingAndUnexpectedState) {
  auto checkpoint = Saved();
  for (Entry& entry : checkpoint.manifest.entries) {
    if (entry.name == "optimizer/state/1/exp_avg") entry.name = "optimizer/state/1/velocity";
  }
  auto model = Model();
  optim::AdamW optimizer(model->parameters(), optim::AdamWOptions(0.01));
  EXPECT_EQ(LoadInto(optimizer, checkpoint).message(),
            "Error(s) in loading state_dict for optimizer (AdamW):\n\tMissing key(s) in "
            "state_dict: \"state.1.exp_avg\". \n\tUnexpected key(s) in state_dict: "
            "\"state.1.velocity\". ");
}

class Handmade : public optim::Optimizer {
 public:
  using optim::Optimizer::Optimizer;
  torch::Tensor step(LossClosure) override { return {}; }
};

TEST(OptimizerMismatchTest, AnOptimizerThatNobodyKnows) {
  Handmade optimizer(std::vector<torch::Tensor>{torch::zeros({2})},
                     std::make_unique<optim::SGDOptions>(0.1));
  TrainingState state;
  state.Add("optimizer", optimizer);
  EXPECT_EQ(state.Capture().status().code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace ckpt::libtorch
