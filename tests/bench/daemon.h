// The daemon as the benchmark uses it: saves of tensors, fetches into tensors.
// Errors end the process with a sentence.
#pragma once

#include <memory>
#include <string>

#include "client/checkpointer.h"
#include "tests/bench/states.h"
#include "tests/bench/usage.h"

namespace ckpt::bench {

// Saves to one run, of which the newest checkpoint is kept. The first save warms
// its staging buffer up and is for the caller to leave uncounted.
class Saver {
 public:
  Saver(const DaemonAt& daemon, const std::string& run);

  // Copies the tensors; the push follows in the background.
  void Begin(const Tensors& tensors);
  // Waits until it is durable.
  SaveResult End();
  SaveResult Save(const Tensors& tensors) {
    Begin(tensors);
    return End();
  }

 private:
  SaveResult result_;  // of the last push; read after Flush only
  std::unique_ptr<Checkpointer> checkpointer_;
};

void DeleteRun(const DaemonAt& daemon, const std::string& run);

// Fetches the newest checkpoint of `run` into the tensors over a new
// connection, as a restarted worker does; seconds.
double FetchLatest(const DaemonAt& daemon, const std::string& run, Tensors& into);

}  // namespace ckpt::bench
