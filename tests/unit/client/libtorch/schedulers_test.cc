#include "client/libtorch/schedulers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/optim.h>

#include "client/libtorch/training_state.h"
#include "tests/unit/client/libtorch/memory_checkpoint.h"
#include "tests/unit/client/libtorch/schedulers_golden.h"

namespace ckpt::libtorch {
namespace {

torch::optim::SGD Optimizer(const std::vector<double>& rates) {
  std::vector<torch::optim::OptimizerParamGroup> groups;
  for (const double rate : rates) {
    groups.emplace_back(std::vector<torch::Tensor>{torch::zeros({1})},
                        std::make_unique<torch::optim::SGDOptions>(rate));
  }
  return torch::optim::SGD(std::move(groups), torch::optim::SGDOptions(1.0));
}

void Append(std::vector<double>& all, const std::vector<double>& some) {
  all.insert(all.end(), some.begin(), some.end());
}

nlohmann::json FieldOf(Scheduler& scheduler, const std::string& name) {
  for (const Field& field : scheduler.Fields()) {
    if (field.name() == name) return field.Get();
  }
  return nullptr;
}

TEST(StepLrTest, GivesTheRatesOfPython) {
  for (const StepRow& row : kStepRows) {
    auto optimizer = Optimizer(row.first);
    StepLR scheduler(optimizer, row.step_size, row.gamma);
    std::vector<double> rates;
    while (rates.size() < row.rates.size()) {
      scheduler.step();
      Append(rates, LearningRates(optimizer));
    }
    EXPECT_EQ(rates, row.rates) << "step_size " << row.step_size << ", gamma " << row.gamma;
  }
}

TEST(ReduceLrOnPlateauTest, GivesTheRatesAndStateOfPython) {
  for (const PlateauRow& row : kPlateauRows) {
    SCOPED_TRACE(testing::Message() << row.curve << ", mode " << row.options.mode << ", patience "
                                    << row.options.patience << ", cooldown " << row.options.cooldown
                                    << ", threshold_mode " << row.options.threshold_mode);
    auto optimizer = Optimizer(row.first);
    ReduceLROnPlateau scheduler(optimizer, row.options);
    std::vector<double> rates;
    for (const double metric : kCurves.at(row.curve)) {
      scheduler.step(metric);
      Append(rates, LearningRates(optimizer));
    }
    EXPECT_EQ(rates, row.rates);
    EXPECT_EQ(FieldOf(scheduler, "best"), DoubleToJson(row.best));
    EXPECT_EQ(FieldOf(scheduler, "num_bad_epochs"), row.num_bad_epochs);
    EXPECT_EQ(FieldOf(scheduler, "cooldown_counter"), row.cooldown_counter);
  }
}

TEST(WarmupCosineLrTest, RisesThenFallsToTheFloorAndStays) {
  auto optimizer = Optimizer({1.0});
  WarmupCosineLR scheduler(optimizer, 4, 14, 0.1);
  std::vector<double> rates = LearningRates(optimizer);
  for (int i = 1; i < 20; ++i) {
    scheduler.step();
    Append(rates, LearningRates(optimizer));
  }
  EXPECT_THAT(std::vector<double>(rates.begin(), rates.begin() + 5),
              testing::ElementsAre(0.25, 0.5, 0.75, 1.0, 1.0));
  EXPECT_NEAR(rates[9], 0.55, 1e-12);
  EXPECT_NEAR(rates[14], 0.1, 1e-12);
  EXPECT_EQ(rates[19], rates[14]);
}

// Every scheduler, interrupted anywhere and continued in another one of the
// same kind, gives the rates of one that was not.
struct Case {
  const char* name;
  std::function<std::unique_ptr<Scheduler>(torch::optim::Optimizer&)> make;
  std::function<void(Scheduler&, int)> step;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class ResumeTest : public testing::TestWithParam<Case> {};

TEST_P(ResumeTest, ContinuesAsIfUninterrupted) {
  const Case& c = GetParam();
  for (int interrupted = 0; interrupted < 12; ++interrupted) {
    auto whole_optimizer = Optimizer({0.5, 0.1});
    const auto whole = c.make(whole_optimizer);
    auto first_optimizer = Optimizer({0.5, 0.1});
    const auto first = c.make(first_optimizer);
    for (int i = 0; i < interrupted; ++i) {
      c.step(*whole, i);
      c.step(*first, i);
    }
    TrainingState saved;
    saved.Add("optimizer", first_optimizer);
    saved.Add("scheduler", *first);
    auto checkpoint = MemoryCheckpoint::Of(saved);

    auto second_optimizer = Optimizer({9.0, 9.0});
    const auto second = c.make(second_optimizer);
    TrainingState loaded;
    loaded.Add("optimizer", second_optimizer);
    loaded.Add("scheduler", *second);
    const auto summary = loaded.Load(checkpoint.Source());
    ASSERT_TRUE(summary.ok()) << summary.status();

    for (int i = interrupted; i < 24; ++i) {
      c.step(*whole, i);
      c.step(*second, i);
      ASSERT_EQ(LearningRates(second_optimizer), LearningRates(whole_optimizer))
          << "interrupted after " << interrupted << ", at " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Schedulers, ResumeTest,
    testing::Values(
        Case{"StepLR", [](auto& optimizer) { return std::make_unique<StepLR>(optimizer, 5, 0.3); },
             [](Scheduler& s, int) { static_cast<StepLR&>(s).step(); }},
        Case{"WarmupCosineLR",
             [](auto& optimizer) { return std::make_unique<WarmupCosineLR>(optimizer, 4, 20); },
             [](Scheduler& s, int) { static_cast<WarmupCosineLR&>(s).step(); }},
        Case{"ReduceLROnPlateau",
             [](auto& optimizer) {
               return std::make_unique<ReduceLROnPlateau>(
                   optimizer, PlateauOptions{.factor = 0.5, .patience = 1, .cooldown = 2});
             },
             [](Scheduler& s, int i) { static_cast<ReduceLROnPlateau&>(s).step(i % 7); }},
        Case{"LibTorchStepLR",
             [](auto& optimizer) {
               return std::make_unique<Resumable<torch::optim::StepLR>>(optimizer, 5u, 0.3);
             },
             [](Scheduler& s, int) { static_cast<Resumable<torch::optim::StepLR>&>(s).step(); }}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ckpt::libtorch
