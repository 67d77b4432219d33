// The trainer's command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/checkpointer.h"
#include "trainer/model.h"

namespace ckpt::trainer {

struct Options {
  // Text.
  std::vector<std::string> text;
  double validation_share = 0.1;

  // Model.
  ModelConfig model;

  // Training.
  std::string optimizer = "adamw";  // adam, sgd
  std::string schedule = "cosine";  // step, plateau, none
  double learning_rate = 0;         // 0: the optimizer's usual one
  double weight_decay = 0.01;
  double momentum = 0.9;
  int64_t warmup = 20;     // cosine: steps
  int64_t lr_step = 100;   // step: steps between cuts
  double lr_factor = 0.5;  // step, plateau: what a cut multiplies by
  int64_t patience = 3;    // plateau: evaluations
  double clip = 1.0;       // 0: no clipping
  int64_t batch = 8;
  int64_t steps = 200;
  int64_t eval_every = 25;
  int64_t eval_batches = 4;
  uint64_t seed = 1;
  int threads = 0;  // 0: LibTorch's choice
  bool cpu = false;

  // Checkpoints.
  std::string address;
  int64_t wait = 300;  // seconds that an absent daemon is waited for
  RunName run{"default", "gpt"};
  std::string launch_id;
  int64_t save_every = 50;
  bool save_best = true;
  std::string resume = "latest";  // a selector, or "none"
  bool require_resume = false;
  OnBusy on_busy = OnBusy::kWait;
  std::optional<Policy> policy;

  // Output.
  std::string log;
  std::string final_state;
  int64_t print_every = 10;
};

// Parses, checks and answers --help itself. Returns the exit code when the
// program is to end; -1 to go on.
int ParseOptions(int argc, char** argv, Options& options);

}  // namespace ckpt::trainer
