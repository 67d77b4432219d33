// ckptctl: the command line of ckptd.
#include <malloc.h>

#include <cstdio>
#include <string>
#include <vector>

#include "client/ckptctl/command_line.h"
#include "client/ckptctl/exit_codes.h"
#include "client/ckptctl/session.h"
#include "proto/names.h"

namespace {

// Messages can hold what a user or a daemon gave.
constexpr size_t kMaxMessageBytes = 4000;

int Fail(const absl::Status& status) {
  fflush(stdout);
  fmt::print(stderr, "ckptctl: {}\n",
             ckpt::Printable(std::string(status.message()), kMaxMessageBytes));
  return ckpt::ctl::ExitCodeOf(status);
}

}  // namespace

int main(int argc, char** argv) {
  // gRPC receives a fetch into memory from malloc, which would go back to the
  // kernel after each chunk and be faulted in again (proto/channel.cc).
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  ckpt::ctl::WatchSignals();
  ckpt::ctl::Session session;
  const auto app = ckpt::ctl::BuildCommandLine(session);
  bool handled = false;
  const std::vector<std::string> args(argv + std::min(argc, 1), argv + argc);
  if (absl::Status status = ckpt::ctl::ParseCommandLine(*app, args, handled); !status.ok()) {
    return Fail(status);
  }
  if (handled) return ckpt::ctl::kExitOk;
  if (absl::Status status = session.Run(); !status.ok()) return Fail(status);
  return session.exit_code();
}
