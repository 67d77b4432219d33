// The least a training job needs to survive its own death: a linear model, an
// optimizer, an epoch and a loss, saved through ckptd and resumed.
#include <fmt/core.h>
#include <torch/torch.h>

#include "client/libtorch/training_state.h"

absl::Status Train() {
  torch::manual_seed(1);
  torch::nn::Linear model(10, 2);
  torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
  int64_t epoch = 0;
  double loss = 0;

  // What to save, and where.
  ckpt::libtorch::TrainingState state;
  state.Add("model", model);
  state.Add("optimizer", optimizer);
  state.Add("epoch", &epoch);
  state.Add("loss", &loss);
  state.AddRng();
  ASSIGN_OR_RETURN(auto checkpointer, ckpt::Checkpointer::Open({.run = {"default", "tiny"}}));
  ASSIGN_OR_RETURN(auto resumed, state.Resume(*checkpointer, "latest"));
  fmt::print("{}\nFrom epoch {}, loss {:.6f}\n", resumed.explanation, epoch, loss);

  for (const int64_t end = epoch + 20; epoch < end;) {
    const auto x = torch::randn({64, 10});
    const auto y = torch::stack({x.sum(1), x.prod(1)}, 1);
    optimizer.zero_grad();
    const auto error = torch::mse_loss(model(x), y);
    error.backward();
    optimizer.step();
    loss = error.item<double>();
    ++epoch;
    RETURN_IF_ERROR(
        state.Save(*checkpointer, static_cast<uint64_t>(epoch), {{"val_loss", loss}}).status());
  }
  fmt::print("To epoch {}, loss {:.6f}\n", epoch, loss);
  return checkpointer->Flush();
}

int main() {
  const absl::Status status = Train();
  if (!status.ok()) fmt::print(stderr, "ckpt-tiny: {}\n", std::string(status.message()));
  return status.ok() ? 0 : 1;
}
