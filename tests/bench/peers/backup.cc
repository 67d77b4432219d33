#include "tests/bench/peers/backup.h"

#include "tests/bench/common.h"
#include "tests/bench/disk.h"

namespace ckpt::bench {

Restic::Restic(const std::string& directory)
    : directory_(directory), repository_(directory + "/restic") {
  Run(CommandOf({"restic", "init", "--quiet"}));
}

Command Restic::CommandOf(std::vector<std::string> words) const {
  return {.words = std::move(words),
          .environment = {"RESTIC_REPOSITORY=" + repository_, "RESTIC_PASSWORD=bench",
                          "RESTIC_CACHE_DIR=" + directory_ + "/restic.cache"},
          .log = directory_ + "/restic.log"};
}

double Restic::Put(const StateFile& state) {
  return Run(CommandOf({"restic", "backup", "--quiet", state.path()}));
}

uint64_t Restic::Stored() const { return DiskBytes(repository_); }

Borg::Borg(const std::string& directory) : directory_(directory), repository_(directory + "/borg") {
  Run(CommandOf({"borg", "init", "--encryption=none", repository_}));
}

Command Borg::CommandOf(std::vector<std::string> words) const {
  return {.words = std::move(words),
          .environment = {"BORG_BASE_DIR=" + directory_ + "/borg.home",
                          "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes"},
          .log = directory_ + "/borg.log"};
}

double Borg::Put(const StateFile& state) {
  // The second it begins in is no name: two may begin in one.
  const std::string name = fmt::format("{:.6f}", Now());
  return Run(CommandOf({"borg", "create", repository_ + "::" + name, state.path()}));
}

uint64_t Borg::Stored() const { return DiskBytes(repository_); }

}  // namespace ckpt::bench
