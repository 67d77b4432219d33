// SQLite's files on a simulated disk.
#pragma once

#include <map>
#include <memory>
#include <string>

#include <absl/synchronization/mutex.h>

#include "tests/testing/simulated_disk.h"

struct sqlite3_vfs;

namespace ckptd::os {

// While it lives it is SQLite's default: what the process opens lies on `disk`,
// which must outlive it. At most one at a time. Shared memory and locks are
// those of one process, which is what the daemon is.
class SimulatedVfs {
 public:
  explicit SimulatedVfs(SimulatedDisk* disk);
  SimulatedVfs(const SimulatedVfs&) = delete;
  SimulatedVfs& operator=(const SimulatedVfs&) = delete;
  ~SimulatedVfs();

  SimulatedDisk& disk() { return disk_; }

  // What the connections of one database share.
  struct Shared;
  std::shared_ptr<Shared> SharedOf(const std::string& path);

 private:
  SimulatedDisk& disk_;
  absl::Mutex mutex_;
  std::map<std::string, std::weak_ptr<Shared>> shared_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<sqlite3_vfs> vfs_;
};

}  // namespace ckptd::os
