#include "trainer/options.h"

#include <map>

#include <CLI/CLI.hpp>

#include "proto/names.h"
#include "trainer/corpus.h"

namespace ckpt::trainer {
namespace {

struct Size {
  int64_t vocab, context, layers, heads, width;
};
// About 0.1, 11 and 124 million parameters.
const std::map<std::string, Size> kSizes = {
    {"tiny", {256, 64, 2, 2, 64}},
    {"small", {256, 256, 6, 6, 384}},
    {"gpt2", {50257, 1024, 12, 12, 768}},
};

CLI::Validator OneOf(std::set<std::string> words) { return CLI::IsMember(std::move(words)); }

}  // namespace

int ParseOptions(int argc, char** argv, Options& options) {
  CLI::App app(
      "Trains a GPT-style language model on the bytes of text files. Saves through ckptd "
      "and, started again, goes on where it was.");
  app.get_formatter()->column_width(34);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  ModelConfig& model = options.model;
  std::string size = "tiny";
  std::string run = options.run.run;
  uint32_t keep_last = 0, keep_best = 0;
  std::string on_busy = "wait";
  bool untied = false;

  app.add_option("text", options.text, "Text files, or directories of them")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->default_str(kDefaultCorpus);
  app.add_option("--validation-share", options.validation_share, "Part of each file held out")
      ->check(CLI::Range(0.001, 0.9))
      ->capture_default_str();

  app.add_option("--size", size, "0.1, 11 or 124 million parameters")
      ->check(OneOf({"tiny", "small", "gpt2"}))
      ->capture_default_str()
      ->group("Model");
  const auto size_part = [&](const std::string& flag, int64_t& value, const std::string& text) {
    return app.add_option(flag, value, text)->check(CLI::PositiveNumber)->group("Model");
  };
  std::map<std::string, int64_t> given;
  size_part("--layers", given["layers"], "Blocks");
  size_part("--heads", given["heads"], "Attention heads");
  size_part("--width", given["width"], "Width, a multiple of the heads");
  size_part("--context", given["context"], "Bytes that it sees at once");
  size_part("--vocab", given["vocab"], "Rows of the embedding, at least 256");
  app.add_option("--dropout", model.dropout)
      ->check(CLI::Range(0.0, 0.99))
      ->capture_default_str()
      ->group("Model");
  app.add_flag("--untied", untied, "Give the head its own weights")->group("Model");

  const auto training = [&](const std::string& flag, auto& value, const std::string& text) {
    return app.add_option(flag, value, text)->capture_default_str()->group("Training");
  };
  training("--optimizer", options.optimizer, "")->check(OneOf({"adamw", "adam", "sgd"}));
  training("--schedule", options.schedule, "Of the learning rate")
      ->check(OneOf({"cosine", "step", "plateau", "none"}));
  app.add_option("--lr", options.learning_rate, "Learning rate [0.001; sgd 0.1]")
      ->check(CLI::PositiveNumber)
      ->group("Training");
  auto* weight_decay =
      app.add_option("--weight-decay", options.weight_decay, "Of matrices [adamw 0.01; others 0]")
          ->check(CLI::NonNegativeNumber)
          ->group("Training");
  training("--momentum", options.momentum, "sgd")->check(CLI::Range(0.0, 1.0));
  training("--warmup", options.warmup, "cosine: steps")->check(CLI::NonNegativeNumber);
  training("--lr-step", options.lr_step, "step: steps between cuts")->check(CLI::PositiveNumber);
  training("--lr-factor", options.lr_factor, "step, plateau: what a cut multiplies by")
      ->check(CLI::Range(1e-6, 0.999));
  training("--patience", options.patience, "plateau: evaluations")->check(CLI::NonNegativeNumber);
  training("--clip", options.clip, "Greatest norm of the gradient; 0: any")
      ->check(CLI::NonNegativeNumber);
  training("--batch", options.batch, "Windows a step")->check(CLI::PositiveNumber);
  training("--steps", options.steps, "Steps in all, those before a resume included")
      ->check(CLI::PositiveNumber);
  training("--eval-every", options.eval_every, "Steps between validations")
      ->check(CLI::PositiveNumber);
  training("--eval-batches", options.eval_batches, "Batches a validation")
      ->check(CLI::PositiveNumber);
  training("--seed", options.seed, "Of weights, dropout and order");
  app.add_option("--threads", options.threads, "CPU threads; 1 makes runs repeat bit for bit")
      ->check(CLI::PositiveNumber)
      ->group("Training");
  app.add_flag("--cpu", options.cpu, "Even where there is CUDA")->group("Training");

  const auto saving = [&](const std::string& flag, auto& value, const std::string& text) {
    return app.add_option(flag, value, text)->group("Checkpoints");
  };
  saving("--address", options.address, "Of ckptd: host:port or unix:PATH");
  saving("--wait", options.wait, "Seconds to wait for a ckptd that cannot be reached")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  saving("--run", run, "[PROJECT/]RUN")->capture_default_str();
  saving("--launch-id", options.launch_id, "Names this start of the job");
  saving("--save-every", options.save_every, "Steps; 0: only the best and the last")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag("!--no-save-best", options.save_best, "Do not save at every best val_loss")
      ->group("Checkpoints");
  saving("--resume", options.resume, "latest, best, step:N, an alias, ...; none")
      ->capture_default_str();
  app.add_flag("--require-resume", options.require_resume, "Refuse to start from scratch")
      ->group("Checkpoints");
  saving("--on-busy", on_busy, "What a save does while one is under way")
      ->check(OneOf({"wait", "skip", "queue"}))
      ->capture_default_str();
  saving("--keep-last", keep_last, "A new run's policy: keep the last N")
      ->check(CLI::PositiveNumber);
  saving("--keep-best", keep_best, "A new run's policy: keep the best N by val_loss")
      ->check(CLI::PositiveNumber);

  const auto output = [&](const std::string& flag, auto& value, const std::string& text) {
    return app.add_option(flag, value, text)->group("Output");
  };
  output("--log", options.log, "Loss curve, one JSON object a line");
  output("--final-state", options.final_state, "Digests of everything at the end, as JSON");
  output("--print-every", options.print_every, "Steps")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();

  try {
    app.parse(argc, argv);
    const Size& chosen = kSizes.at(size);
    const auto pick = [&](const char* name, int64_t preset) {
      return given[name] > 0 ? given[name] : preset;
    };
    model.vocab = pick("vocab", chosen.vocab);
    model.context = pick("context", chosen.context);
    model.layers = pick("layers", chosen.layers);
    model.heads = pick("heads", chosen.heads);
    model.width = pick("width", chosen.width);
    model.tied = !untied;
    if (model.width % model.heads != 0) {
      throw CLI::ValidationError("--width", "must be a multiple of --heads");
    }
    if (model.vocab < 256) throw CLI::ValidationError("--vocab", "must be at least 256");
    const auto parsed_run = ParseRunName(run);
    if (!parsed_run.ok()) {
      throw CLI::ValidationError("--run", std::string(parsed_run.status().message()));
    }
    options.run = *parsed_run;
    if (options.resume != "none") {
      const auto selector = ParseSelector(options.resume);
      if (!selector.ok()) {
        throw CLI::ValidationError("--resume", std::string(selector.status().message()));
      }
    } else if (options.require_resume) {
      throw CLI::ValidationError("--require-resume", "cannot go with --resume none");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (weight_decay->count() == 0 && options.optimizer != "adamw") options.weight_decay = 0;
  if (on_busy == "skip") options.on_busy = OnBusy::kSkip;
  if (on_busy == "queue") options.on_busy = OnBusy::kQueue;
  if (options.text.empty()) options.text = {kDefaultCorpus};
  if (options.learning_rate == 0) options.learning_rate = options.optimizer == "sgd" ? 0.1 : 1e-3;
  if (keep_last > 0 || keep_best > 0) {
    Policy policy;
    if (keep_last > 0) policy.keep_last = keep_last;
    if (keep_best > 0) policy.keep_best = {{"val_loss", MetricMode::kMin, keep_best}};
    options.policy = policy;
  }
  return -1;
}

}  // namespace ckpt::trainer
