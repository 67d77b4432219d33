// Pushes what the training of an adapter saves: a large base that is frozen,
// and beside it a few per cent of parameters with AdamW's two averages. For
// the figures of bytes at rest; `du` of the data directory tells them.
//
//   ckpt_adapter RUN [SAVES] [MIB]
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "client/checkpointer.h"
#include "proto/names.h"

namespace {

constexpr double kFrozenShare = 0.95;  // of all bytes
constexpr int kLayers = 4;
constexpr int kStepsBefore = 2000;  // it is well under way
constexpr int kStepsASave = 20;
constexpr float kRate = 1e-4f, kDecay = 0.01f, kBeta1 = 0.9f, kBeta2 = 0.999f, kEpsilon = 1e-8f;

// A layer of the adapter under AdamW. The gradient is that of a bowl, under the
// noise of small batches.
struct Layer {
  explicit Layer(size_t count, uint64_t seed) : random(seed), values(count), aims(count) {
    std::normal_distribution<float> start(0, 0.02f), aim(0, 0.05f);
    std::lognormal_distribution<float> size(-7, 1.5f);
    for (size_t i = 0; i < count; ++i) {
      values[i] = start(random);
      aims[i] = aim(random);
      noise.push_back(size(random));
    }
    average.resize(count);
    average_square.resize(count);
  }

  void Step(int step) {
    std::normal_distribution<float> normal;
    const float one = 1 - std::pow(kBeta1, static_cast<float>(step));
    const float two = 1 - std::pow(kBeta2, static_cast<float>(step));
    for (size_t i = 0; i < values.size(); ++i) {
      const float gradient = noise[i] * (values[i] - aims[i] + normal(random));
      average[i] = kBeta1 * average[i] + (1 - kBeta1) * gradient;
      average_square[i] = kBeta2 * average_square[i] + (1 - kBeta2) * gradient * gradient;
      values[i] -= kRate * (kDecay * values[i] +
                            average[i] / one / (std::sqrt(average_square[i] / two) + kEpsilon));
    }
  }

  std::mt19937_64 random;
  std::vector<float> values, aims, noise, average, average_square;
};

absl::Status Run(const ckpt::RunName& run, int saves, uint64_t bytes) {
  const auto frozen_bytes = static_cast<uint64_t>(static_cast<double>(bytes) * kFrozenShare);
  std::mt19937_64 random(1);
  std::normal_distribution<float> weight(0, 0.02f);
  std::vector<uint16_t> base(frozen_bytes / sizeof(uint16_t));  // bf16
  for (uint16_t& value : base) {
    const float exact = weight(random);
    uint32_t bits;
    std::memcpy(&bits, &exact, sizeof(bits));
    value = static_cast<uint16_t>(bits >> 16);
  }
  std::vector<Layer> layers;
  for (uint64_t i = 0; i < kLayers; ++i) {
    layers.emplace_back((bytes - frozen_bytes) / (3 * sizeof(float) * kLayers), 2 + i);
  }

  ckpt::State state;
  state.AddTensor("base", ckpt::DType::kBF16, {static_cast<int64_t>(base.size())}, base.data());
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::vector<int64_t> shape = {static_cast<int64_t>(layers[i].values.size())};
    const auto add = [&](const char* name, const std::vector<float>& values) {
      state.AddTensor(fmt::format("adapter/{}/{}", i, name), ckpt::DType::kF32, shape,
                      values.data());
    };
    add("weight", layers[i].values);
    add("exp_avg", layers[i].average);
    add("exp_avg_sq", layers[i].average_square);
  }

  ckpt::CheckpointerOptions options;
  options.run = run;
  options.policy = ckpt::Policy();  // no rules: keep everything
  ASSIGN_OR_RETURN(const auto checkpointer, ckpt::Checkpointer::Open(std::move(options)));
  const int last = kStepsBefore + saves * kStepsASave;
  for (int step = 1; step <= last; ++step) {
    for (Layer& layer : layers) layer.Step(step);
    if (step <= kStepsBefore || step % kStepsASave != 0) continue;
    RETURN_IF_ERROR(checkpointer->Save(static_cast<uint64_t>(step), state).status());
    RETURN_IF_ERROR(checkpointer->Flush());
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  int saves = 20;
  uint64_t mebibytes = 96;
  const auto number = [&](int index, auto& value) {
    if (index >= argc) return true;
    const char* const end = argv[index] + std::strlen(argv[index]);
    return std::from_chars(argv[index], end, value).ptr == end && value > 0;
  };
  const auto run = ckpt::ParseRunName(argc > 1 ? argv[1] : "");
  if (!run.ok() || argc > 4 || !number(2, saves) || !number(3, mebibytes)) {
    fmt::print(stderr, "ckpt_adapter: use it as ckpt_adapter RUN [SAVES] [MIB]\n");
    return 2;
  }
  if (const absl::Status status = Run(*run, saves, mebibytes << 20); !status.ok()) {
    fmt::print(stderr, "ckpt_adapter: {}\n", std::string(status.message()));
    return 1;
  }
  return 0;
}
