// The daemon inside the test, on a simulated disk and with a clock that jumps:
// its power can be cut at any operation, its disk can fail, rot and be full.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <absl/time/time.h>

#include "daemon/access/audit.h"
#include "daemon/access/tokens.h"
#include "daemon/os/clock.h"
#include "daemon/server.h"
#include "daemon/store/store.h"
#include "tests/crash/house.h"
#include "tests/testing/proxy.h"
#include "tests/testing/simulated_disk.h"
#include "tests/testing/simulated_file_system.h"
#include "tests/testing/simulated_vfs.h"

namespace ckpt::crash {

// The system's clock, and how far it is wrong. Thread-safe.
class JumpingClock final : public ckptd::os::Clock {
 public:
  absl::Time Now() override { return absl::Now() + absl::Nanoseconds(wrong_.load()); }
  void SetWrongBy(absl::Duration by) { wrong_ = absl::ToInt64Nanoseconds(by); }

 private:
  std::atomic<int64_t> wrong_ = 0;
};

// At most one at a time in a process.
class SimulatedHouse final : public House {
 public:
  SimulatedHouse();
  ~SimulatedHouse() override;

  testing::AssertionResult Start() override;
  absl::Status TryStart();
  bool is_up() const override { return server_ != nullptr; }
  std::string address() const override { return line_.address(); }
  std::string Log() const override { return "(logged to the test's own output)"; }
  bool MayFail(const absl::Status& status) const override;
  Packs MeasurePacks() const override;
  absl::Status CheckCatalog() override;

  // The machine goes off before the nth operation on the disk from now, or after
  // `limit`, and the disk comes back with what it may have kept.
  void CutPower(uint64_t n, absl::Duration limit, ckptd::os::SimulatedDisk::Random& random);
  // Starts it and lets `play` use it; the machine goes off before the nth
  // operation on the disk, if it comes to that, else at the end. Whether it came
  // to that.
  bool StartAndCutPower(uint64_t n, const std::function<void()>& play,
                        ckptd::os::SimulatedDisk::Random& random);
  // Lets what is under way end, and the daemon with it, if it is up.
  void Drain();

  // While this is set, calls may fail for these reasons.
  void Tolerate(std::vector<std::string> reasons);

  ckptd::os::SimulatedDisk& disk() { return disk_; }
  JumpingClock& clock() { return clock_; }
  test::Proxy& line() { return line_; }

 private:
  absl::Status Open();
  // Nobody hears of it any more, and nothing it does lasts.
  void Die();

  ckptd::os::SimulatedDisk disk_;
  ckptd::os::SimulatedVfs vfs_{&disk_};
  ckptd::os::SimulatedFileSystem fs_{&disk_};
  JumpingClock clock_;
  test::Proxy line_;
  std::unique_ptr<ckptd::Store> store_;
  std::unique_ptr<ckptd::Tokens> tokens_;
  std::unique_ptr<ckptd::Audit> audit_;
  std::unique_ptr<ckptd::Server> server_;
  mutable absl::Mutex mutex_;
  std::vector<std::string> tolerated_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ckpt::crash
