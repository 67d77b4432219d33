// The training loop.
#pragma once

#include <atomic>

#include "proto/status.h"
#include "trainer/options.h"

namespace ckpt::trainer {

// Trains until `options.steps`, or until `stop` is set: then saves and ends
// well. A save that fails is logged and training goes on, unless a newer
// attempt has taken the run over; the last save must succeed.
absl::Status Train(const Options& options, const std::atomic<bool>& stop);

}  // namespace ckpt::trainer
