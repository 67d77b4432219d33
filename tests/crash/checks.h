// The daemon under test and what must be true of it after each kill.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "client/client.h"
#include "tests/crash/model.h"
#include "tests/testing/process.h"
#include "tests/testing/temp_dir.h"

namespace ckpt::crash {

// A client that gives up at the first broken line, or one that rides a restart
// out.
enum class Patience { kNone, kRestart };
// `new_id`: of calls; none: the client's own.
std::unique_ptr<Client> Connect(const std::string& address, Patience patience,
                                std::function<std::string()> new_id = nullptr);

// One ckptd, killed and started again on the same directory. Threads: only the
// one that made it, except where noted.
class House {
 public:
  House() : daemon_(CKPTD_BINARY, directory_ / "data") {}

  testing::AssertionResult Start() { return daemon_.Start(); }
  void Kill();
  // Starts it and kills it `delay` later, however far it has come.
  void KillStarting(absl::Duration delay);
  // Any thread.
  uint64_t kills() const { return kills_.load(); }
  std::string address() const { return daemon_.address(); }
  // The end of the daemon's log.
  std::string Log() const;

  // Blocks that the packs take, and how many there are.
  struct Packs {
    uint64_t bytes = 0, files = 0;
  };
  Packs MeasurePacks() const;

  // Of a dead daemon's catalog, as it lies there: that SQLite finds it whole
  // and that it agrees with itself. Looks at a copy.
  absl::Status CheckCatalog() const;

 private:
  ckptd::os::TempDir directory_;
  test::Daemon daemon_;
  std::atomic<uint64_t> kills_ = 0;
};

// The run's checkpoints; nothing when there is no such run.
absl::StatusOr<std::optional<std::vector<Checkpoint>>> List(Client& client, const RunName& run);

// Everything that was acknowledged is there, and nothing else is; what had no
// answer is settled. Waits for the janitor, who may still be removing. With
// `all`, every byte of every checkpoint is compared, else of the newest.
absl::Status CheckRun(Client& client, RunModel& run, bool all);

// What is stored is what the runs need, and the packs take no more than that
// and their own headers and notes. Waits for the janitor to settle.
absl::Status CheckSpace(Client& client, const House& house, const std::vector<RunModel*>& runs);

}  // namespace ckpt::crash
