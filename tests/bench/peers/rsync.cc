#include "tests/bench/peers/rsync.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/bench/common.h"
#include "tests/bench/disk.h"

namespace ckpt::bench {
namespace {

std::string WriteConfig(const std::string& directory) {
  std::filesystem::create_directories(directory);
  const std::string config = directory + ".conf";
  std::ofstream out(config);
  out << fmt::format(
      "use chroot = no\n"
      "[bench]\n"
      "path = {}\n"
      "read only = no\n"
      "uid = {}\n"
      "gid = {}\n",
      directory, getuid(), getgid());
  if (!out.flush()) Die("cannot write " + config);
  return config;
}

}  // namespace

Rsync::Rsync(const std::string& directory)
    : directory_(directory + "/rsync"),
      log_(directory + "/rsync.log"),
      config_(WriteConfig(directory_)),
      server_({.words = {"rsync", "--daemon", "--no-detach", "--config=" + config_,
                         "--address=127.0.0.1", fmt::format("--port={}", port_.number())},
               .log = log_}) {
  server_.WaitForPort(port_.number());
}

double Rsync::Put(const StateFile& state) {
  return Timed([&] {
    Run({.words = {"rsync", "--whole-file", "--fsync", state.path(),
                   fmt::format("rsync://{}/bench/state", port_.address())},
         .log = log_});
    SyncFile(directory_ + "/state");
  });
}

void Rsync::Clear() { std::filesystem::remove(directory_ + "/state"); }

}  // namespace ckpt::bench
