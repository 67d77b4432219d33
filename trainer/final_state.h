// What two runs that trained alike have in common, as a file.
#pragma once

#include <string>

#include "client/state.h"
#include "proto/status.h"

namespace ckpt::trainer {

// JSON: the BLAKE3 digest of every entry of `state` (parameters, optimizer
// state, RNG) by its name, and the state's document in full.
absl::Status WriteFinalState(const State& state, const std::string& path);

}  // namespace ckpt::trainer
