#include "trainer/train.h"

#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include <absl/time/clock.h>
#include <spdlog/spdlog.h>
#include <torch/cuda.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim.h>
#include <torch/utils.h>

#include "client/libtorch/tensors.h"
#include "client/libtorch/training_state.h"
#include "trainer/corpus.h"
#include "trainer/final_state.h"
#include "trainer/loss_log.h"
#include "trainer/sampler.h"
#include "trainer/threads.h"

namespace ckpt::trainer {
namespace {

namespace optim = torch::optim;

std::unique_ptr<optim::Optimizer> MakeOptimizer(const Options& options, const GptImpl& model) {
  const auto make = [&]<class Optimizer, class OptimizerOptions>(
                        std::type_identity<Optimizer>,
                        OptimizerOptions with) -> std::unique_ptr<optim::Optimizer> {
    // Biases and norms are not decayed.
    std::vector<optim::OptimizerParamGroup> groups;
    for (const bool matrices : {true, false}) {
      with.weight_decay(matrices ? options.weight_decay : 0.0);
      groups.emplace_back(model.Parameters(matrices), std::make_unique<OptimizerOptions>(with));
    }
    return std::make_unique<Optimizer>(std::move(groups), with);
  };
  const double lr = options.learning_rate;
  if (options.optimizer == "sgd") {
    return make(std::type_identity<optim::SGD>(), optim::SGDOptions(lr).momentum(options.momentum));
  }
  if (options.optimizer == "adam") {
    return make(std::type_identity<optim::Adam>(), optim::AdamOptions(lr));
  }
  return make(std::type_identity<optim::AdamW>(), optim::AdamWOptions(lr));
}

// A schedule by name, stepped with every step or every evaluation.
class Schedule {
 public:
  Schedule(const Options& options, optim::Optimizer& optimizer) {
    if (options.schedule == "step") {
      step_.emplace(optimizer, options.lr_step, options.lr_factor);
    } else if (options.schedule == "cosine") {
      cosine_.emplace(optimizer, options.warmup, options.steps);
    } else if (options.schedule == "plateau") {
      plateau_.emplace(optimizer, libtorch::PlateauOptions{.factor = options.lr_factor,
                                                           .patience = options.patience});
    }
  }
  void Stepped() {
    if (step_) step_->step();
    if (cosine_) cosine_->step();
  }
  void Evaluated(double loss) {
    if (plateau_) plateau_->step(loss);
  }
  libtorch::Scheduler* scheduler() {
    if (step_) return &*step_;
    if (cosine_) return &*cosine_;
    return plateau_ ? &*plateau_ : nullptr;
  }

 private:
  std::optional<libtorch::StepLR> step_;
  std::optional<libtorch::WarmupCosineLR> cosine_;
  std::optional<libtorch::ReduceLROnPlateau> plateau_;
};

// The text in windows of `context` bytes, each predicting the byte after.
class Windows {
 public:
  Windows(const std::vector<uint8_t>& bytes, int64_t context, torch::Device device)
      : bytes_(bytes), context_(context), device_(device) {}

  int64_t count() const { return (static_cast<int64_t>(bytes_.size()) - 1) / context_; }

  // (tokens, targets), both (chosen.size(), context).
  std::pair<torch::Tensor, torch::Tensor> Batch(const std::vector<int64_t>& chosen) const {
    std::vector<int64_t> tokens;
    tokens.reserve(chosen.size() * static_cast<size_t>(context_ + 1));
    for (const int64_t window : chosen) {
      const auto begin = bytes_.begin() + window * context_;
      tokens.insert(tokens.end(), begin, begin + context_ + 1);
    }
    const auto both = torch::tensor(tokens, torch::kLong)
                          .view({static_cast<int64_t>(chosen.size()), context_ + 1})
                          .to(device_);
    return {both.slice(1, 0, context_), both.slice(1, 1)};
  }

 private:
  const std::vector<uint8_t>& bytes_;
  int64_t context_;
  torch::Device device_;
};

// A job is often started before its daemon: says so while it waits, and ends
// the wait when it is told to stop.
absl::Status WaitForDaemon(ClientOptions options, const std::atomic<bool>& stop) {
  const absl::Time end = absl::Now() + options.retry.window;
  options.retry.window = absl::ZeroDuration();
  ASSIGN_OR_RETURN(const auto client, Client::Connect(std::move(options)));
  for (bool told = false;; told = true) {
    // Whatever it answers, it is there: opening the attempt tells what else is wrong.
    const absl::Status status = client->GetStats().status();
    if (!HasReason(status, reason::kUnreachable)) return absl::OkStatus();
    if (stop || absl::Now() >= end) return status;
    if (!told) spdlog::warn("waiting for ckptd: {}", std::string(status.message()));
    absl::SleepFor(absl::Milliseconds(500));
  }
}

// Everything that a step changes, and so everything that a save holds.
class Job {
 public:
  Job(const Options& options, Corpus corpus)
      : options_(options),
        corpus_(std::move(corpus)),
        device_(!options.cpu && torch::cuda::is_available() ? torch::kCUDA : torch::kCPU),
        train_(corpus_.train, options.model.context, device_),
        validation_(corpus_.validation, options.model.context, device_),
        model_(options.model),
        sampler_(train_.count(), options.seed) {
    model_->to(device_);
    optimizer_ = MakeOptimizer(options, *model_);
    schedule_.emplace(options, *optimizer_);
    state_.Add("model", model_);
    state_.Add("optimizer", *optimizer_);
    if (schedule_->scheduler() != nullptr) state_.Add("scheduler", *schedule_->scheduler());
    state_.Add("sampler", {{"epoch", &sampler_.epoch}, {"position", &sampler_.position}});
    state_.Add("step", &step_);
    state_.Add("best_val_loss", &best_);
    state_.AddRng();
  }

  // Opens the attempt, and goes on where the run was.
  absl::Status Begin(const std::atomic<bool>& stop) {
    spdlog::info("{} parameters, {} bytes of text, {}", model_->ParameterCount(),
                 corpus_.train.size(), device_.str());
    CheckpointerOptions checkpoints;
    checkpoints.client.address = options_.address;
    checkpoints.client.retry.window = absl::Seconds(options_.wait);
    RETURN_IF_ERROR(WaitForDaemon(checkpoints.client, stop));
    checkpoints.run = options_.run;
    checkpoints.launch_id = options_.launch_id;
    checkpoints.policy = options_.policy;
    checkpoints.require_resume = options_.require_resume;
    checkpoints.on_busy = options_.on_busy;
    checkpoints.on_result = [](const SaveResult& result) {
      if (!result.status.ok()) {
        spdlog::error("step {} was not saved: {}", result.step,
                      std::string(result.status.message()));
        return;
      }
      spdlog::info(
          "saved step {}: {:.1f} of {:.1f} MB sent, durable after {:.0f} ms, training "
          "waited {:.1f} ms{}",
          result.step, static_cast<double>(result.sent_bytes) / 1e6,
          static_cast<double>(result.total_bytes) / 1e6,
          absl::ToDoubleMilliseconds(result.duration), absl::ToDoubleMilliseconds(result.stall),
          result.checkpoint ? "; kept: " + ReasonsText(result.checkpoint->verdict) : "");
    };
    ASSIGN_OR_RETURN(checkpointer_, Checkpointer::Open(std::move(checkpoints)));
    if (options_.resume != "none") {
      ASSIGN_OR_RETURN(const libtorch::ResumeResult resumed,
                       state_.Resume(*checkpointer_, options_.resume));
      spdlog::info("attempt {}: {}", checkpointer_->attempt().number, resumed.explanation);
      if (resumed.resumed()) spdlog::info("resumed at step {}", step_);
    }
    saved_step_ = step_;
    if (!options_.log.empty()) {
      ASSIGN_OR_RETURN(log_, LossLog::Open(options_.log, step_));
    }
    return absl::OkStatus();
  }

  absl::Status Run(const std::atomic<bool>& stop) {
    while (step_ < options_.steps && !stop) RETURN_IF_ERROR(Step());
    if (stop) spdlog::info("stopping at step {}: saving", step_);
    RETURN_IF_ERROR(SaveLast());
    if (options_.final_state.empty() || stop) return absl::OkStatus();
    ASSIGN_OR_RETURN(const State state, state_.Capture());
    return WriteFinalState(state, options_.final_state);
  }

 private:
  // One update and all that follows from it. A save comes last, so that it
  // holds everything of the step and nothing of the next.
  absl::Status Step() {
    const auto [tokens, targets] = train_.Batch(sampler_.Next(options_.batch));
    const double lr = libtorch::LearningRates(*optimizer_).front();
    optimizer_->zero_grad();
    auto loss = model_->Loss(tokens, targets);
    loss.backward();
    if (options_.clip > 0) {
      torch::nn::utils::clip_grad_norm_(model_->parameters(), options_.clip);
    }
    optimizer_->step();
    schedule_->Stepped();
    ++step_;

    const double train_loss = loss.item<double>();
    if (!std::isfinite(train_loss)) spdlog::warn("step {}: the loss is {}", step_, train_loss);
    std::optional<double> validation_loss;
    bool best = false;
    if (step_ % options_.eval_every == 0 || step_ == options_.steps) {
      validation_loss = Evaluate();
      schedule_->Evaluated(*validation_loss);
      best = *validation_loss < best_;
      if (best) best_ = *validation_loss;
    }
    RETURN_IF_ERROR(log_.Write(step_, train_loss, lr, validation_loss));
    if (validation_loss) {
      spdlog::info("step {}: loss {:.4f}, val_loss {:.4f}{}", step_, train_loss, *validation_loss,
                   best ? ", best so far" : "");
    } else if (step_ % options_.print_every == 0) {
      spdlog::info("step {}: loss {:.4f}", step_, train_loss);
    }

    metrics_ = {{"train_loss", train_loss}};
    if (validation_loss) metrics_["val_loss"] = *validation_loss;
    const bool due = options_.save_every > 0 && step_ % options_.save_every == 0;
    return due || (best && options_.save_best) ? Save() : absl::OkStatus();
  }

  // One that fails or is skipped is logged, and training goes on.
  absl::Status Save() {
    const auto saved = state_.Save(*checkpointer_, static_cast<uint64_t>(step_), metrics_);
    if (HasReason(saved.status(), reason::kAttemptFenced)) return saved.status();
    if (!saved.ok()) {
      spdlog::error("saving at step {}: {}", step_, std::string(saved.status().message()));
    } else if (*saved == SaveOutcome::kSkipped) {
      spdlog::info("step {} not saved: the save before is still under way", step_);
    } else {
      saved_step_ = step_;
    }
    return absl::OkStatus();
  }

  // Of the step that training ends with: durable when it returns OK.
  absl::Status SaveLast() {
    if (step_ > saved_step_) {
      // Behind a save under way this one might be skipped. How that one ended was
      // logged; what this one holds is newer.
      const absl::Status earlier = checkpointer_->Flush();
      if (HasReason(earlier, reason::kAttemptFenced)) return earlier;
      RETURN_IF_ERROR(
          state_.Save(*checkpointer_, static_cast<uint64_t>(step_), metrics_).status());
    }
    return checkpointer_->Flush();
  }

  // Mean loss over windows spread evenly over the held-out text: always the
  // same ones, and no random number is drawn.
  double Evaluate() {
    torch::NoGradGuard no_grad;
    model_->eval();
    const int64_t wanted = options_.eval_batches * options_.batch;
    const int64_t count = std::min(wanted, validation_.count());
    double sum = 0;
    for (int64_t begin = 0; begin < count; begin += options_.batch) {
      std::vector<int64_t> chosen;
      for (int64_t i = begin; i < std::min(begin + options_.batch, count); ++i) {
        chosen.push_back(i * validation_.count() / count);
      }
      const auto [tokens, targets] = validation_.Batch(chosen);
      sum += model_->Loss(tokens, targets).item<double>() * static_cast<double>(chosen.size());
    }
    model_->train();
    return sum / static_cast<double>(count);
  }

  const Options& options_;
  const Corpus corpus_;
  const torch::Device device_;
  const Windows train_, validation_;

  Gpt model_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::optional<Schedule> schedule_;
  Sampler sampler_;
  int64_t step_ = 0;
  double best_ = std::numeric_limits<double>::infinity();
  libtorch::TrainingState state_;

  std::unique_ptr<Checkpointer> checkpointer_;
  int64_t saved_step_ = 0;
  Metrics metrics_;  // of step_
  LossLog log_;
};

}  // namespace

absl::Status Train(const Options& options, const std::atomic<bool>& stop) {
  return libtorch::Guarded("training", [&]() -> absl::Status {
    if (options.threads > 0) SetThreads(options.threads);
    torch::manual_seed(options.seed);
    ASSIGN_OR_RETURN(Corpus corpus, ReadCorpus(options.text, options.validation_share,
                                               static_cast<size_t>(options.model.context) + 1));
    Job job(options, std::move(corpus));
    RETURN_IF_ERROR(job.Begin(stop));
    return job.Run(stop);
  });
}

}  // namespace ckpt::trainer
