#include <signal.h>

#include <atomic>
#include <string>

#include <spdlog/spdlog.h>

#include "trainer/options.h"
#include "trainer/train.h"

namespace {

std::atomic<bool> stop = false;
static_assert(std::atomic<bool>::is_always_lock_free);

}  // namespace

// Exit codes: 0 trained, or saved on SIGTERM or SIGINT; 1 failed; 2 bad flags.
int main(int argc, char** argv) {
  ckpt::trainer::Options options;
  if (const int code = ckpt::trainer::ParseOptions(argc, argv, options); code >= 0) return code;

  struct sigaction action = {};
  action.sa_handler = [](int) { stop = true; };
  action.sa_flags = SA_RESTART | SA_RESETHAND;  // a second one ends it at once
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);

  const absl::Status status = ckpt::trainer::Train(options, stop);
  if (!status.ok()) spdlog::error("{}", std::string(status.message()));
  return status.ok() ? 0 : 1;
}
