// ckptd as a process of its own, on a real disk.
#pragma once

#include <optional>
#include <string>

#include <absl/time/time.h>

#include "tests/crash/house.h"
#include "tests/testing/process.h"
#include "tests/testing/programs.h"
#include "tests/testing/proxy.h"
#include "tests/testing/temp_dir.h"

namespace ckpt::crash {

class ProcessHouse final : public House {
 public:
  ProcessHouse() : daemon_(test::kCkptd, directory_ / "data") {}

  testing::AssertionResult Start() override;
  bool is_up() const override { return up_; }
  std::string address() const override { return proxy_ ? proxy_->address() : daemon_.address(); }
  std::string Log() const override;
  Packs MeasurePacks() const override;
  absl::Status CheckCatalog() override;

  void Kill();
  // Starts it and kills it `delay` later, however far it has come.
  void KillStarting(absl::Duration delay);
  // Lets what is under way end, and the daemon with it.
  void Drain();
  // The same of one that may have ended, or may end in whatever way.
  void Stop();
  const std::string& data_dir() const { return daemon_.data_dir(); }

  // From now on the address is that of a line on which `draw` decides what goes
  // wrong. To be called once, before anybody connects.
  void BreakLines(std::function<test::LineFault()> draw);
  test::Proxy& line() { return *proxy_; }

 private:
  ckptd::os::TempDir directory_;
  test::Daemon daemon_;
  bool up_ = false;
  std::optional<test::Proxy> proxy_;
};

}  // namespace ckpt::crash
