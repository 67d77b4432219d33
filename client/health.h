// Asks a daemon how it is.
#pragma once

#include <string>
#include <vector>

#include <absl/time/time.h>

#include "client/client.h"
#include "proto/status.h"

namespace ckpt {

struct Health {
  bool ready = false;  // it takes checkpoints
  bool live = false;   // false: it is stuck, and has to be started anew
  bool draining = false;
  std::vector<std::string> problems;  // why it is not ready, a sentence each
  std::string version;
};

// Each try takes at most `deadline`, and there are as many as the client's options
// say: a daemon that does not answer is not well. UNAVAILABLE or
// DEADLINE_EXCEEDED/UNREACHABLE then. Needs no token.
absl::StatusOr<Health> CheckHealth(const Client& client,
                                   absl::Duration deadline = absl::Seconds(5));

}  // namespace ckpt
