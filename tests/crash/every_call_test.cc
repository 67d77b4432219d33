// ckptd as a process: each system call on its files, in a run of pushes, commits
// and prunes, fails once in each way, or is the last before it is killed.
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/crash/checks.h"
#include "tests/crash/process_house.h"
#include "tests/crash/scenario.h"
#include "tests/crash/trial.h"

namespace ckpt::crash {
namespace {

struct Way {
  const char* name;
  std::string how;
  friend void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }
};

class EveryCallTest : public testing::TestWithParam<Way> {
 protected:
  void TearDown() override {
    for (const char* name : {"LD_PRELOAD", "CKPTD_IO"}) unsetenv(name);
  }
};

TEST_P(EveryCallTest, MayFail) {
  const uint64_t stride = FromEnvironment("CKPT_CRASH_CALL_STRIDE", 300);
  const ckptd::os::TempDir notes;
  // By io_uring writes would pass the library by.
  setenv("CKPTD_IO", "plain", 1);
  setenv("CKPT_FAIL_HOW", GetParam().how.c_str(), 1);
  setenv("CKPT_FAIL_TOLD", (notes / "told").c_str(), 1);
  std::map<std::string, int> failed;  // by call
  uint64_t played = 0;
  bool reached = true;
  for (uint64_t at = 1 + Seed() % stride; reached && !HasFailure(); at += stride) {
    ProcessHouse house;
    // As SQLite writes it, without doubled slashes.
    const std::string under = std::filesystem::path(house.data_dir()).lexically_normal();
    setenv("CKPT_FAIL_UNDER", under.c_str(), 1);
    setenv("CKPT_FAIL_AT", std::to_string(at).c_str(), 1);
    setenv("LD_PRELOAD", CKPT_FAILING_CALLS, 1);
    Scenario scenario(7);
    if (house.Start()) {
      scenario.Play(*Connect(house.address(), Patience::kNone)).IgnoreError();  // where it may
      house.Stop();
    }
    unsetenv("LD_PRELOAD");
    const std::string told = test::ReadFile(notes / "told");
    std::remove((notes / "told").c_str());
    SCOPED_TRACE(testing::Message() << "call " << at << ": " << told);
    reached = !told.empty();
    played += reached;
    if (reached) ++failed[told.substr(0, told.find(' '))];
    ASSERT_TRUE(house.Start());
    scenario.Check(house);
    if (HasFailure()) std::cout << house.Log() << std::endl;
  }
  std::cout << played << " of about " << played * stride << " calls:";
  for (const auto& [call, times] : failed) std::cout << " " << call << " " << times;
  std::cout << std::endl;
  EXPECT_GE(played * stride, 200u) << "hardly anything was done";
}

INSTANTIATE_TEST_SUITE_P(
    Ways, EveryCallTest,
    testing::Values(Way{"EIO", std::to_string(EIO)}, Way{"ENOSPC", std::to_string(ENOSPC)},
                    Way{"EINTR", std::to_string(EINTR)}, Way{"EMFILE", std::to_string(EMFILE)},
                    Way{"ENOMEM", std::to_string(ENOMEM)}, Way{"short", "short"},
                    Way{"killed_before", "kill"}, Way{"killed_after", "after"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ckpt::crash
