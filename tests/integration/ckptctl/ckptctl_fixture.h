// A daemon for all cases of a suite, and ckptctl as a user starts it. Each
// case uses runs of its own.
#pragma once

#include <pty.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "client/safetensors.h"
#include "tests/testing/process.h"
#include "tests/testing/programs.h"
#include "tests/testing/temp_dir.h"

namespace ckpt::test {

// What a command did.
struct Outcome {
  Ended ended;
  std::string out, err;

  nlohmann::json Json() const {
    const nlohmann::json json = nlohmann::json::parse(out, nullptr, false);
    EXPECT_FALSE(json.is_discarded()) << "no JSON: " << out << err;
    return json;
  }
};
inline void PrintTo(const Outcome& outcome, std::ostream* to) {
  PrintTo(outcome.ended, to);
  *to << "\nstdout: " << outcome.out << "\nstderr: " << outcome.err;
}

MATCHER_P(ExitsWith, code, "") { return arg.ended.code == code; }
// One line that begins as all messages do and is short enough to be read.
MATCHER(OneSentence, "") {
  return arg.starts_with("ckptctl: ") && std::count(arg.begin(), arg.end(), '\n') == 1 &&
         arg.ends_with("\n") && arg.size() < 1000 &&
         std::all_of(arg.begin(), arg.end() - 1, [](unsigned char c) { return c >= 0x20; });
}

class CkptctlTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<ckptd::os::TempDir>();
    daemon_ = std::make_unique<Daemon>(kCkptd, *directory_ / "data");
    ASSERT_TRUE(daemon_->Start());
  }
  static void TearDownTestSuite() {
    daemon_.reset();
    directory_.reset();
  }

  static std::string Path(const std::string& name) { return *directory_ / name; }

  // Runs ckptctl with standard input from nowhere.
  static Outcome Ctl(const std::vector<std::string>& args, const std::string& address = "") {
    const std::string name = fmt::format("command-{}", ++commands_);
    std::vector<std::string> command = {
        "/bin/sh", "-c", "exec \"$0\" \"$@\" > \"$OUT\" 2> \"$ERR\" < /dev/null", kCkptctl};
    command.insert(command.end(), args.begin(), args.end());
    Process process(command, Path(name + ".log"),
                    {{"OUT", Path(name + ".out")},
                     {"ERR", Path(name + ".err")},
                     {"CKPTD_ADDRESS", address.empty() ? daemon_->address() : address}});
    Outcome outcome;
    outcome.ended = process.Wait();
    outcome.out = ReadFile(Path(name + ".out"));
    outcome.err = ReadFile(Path(name + ".err"));
    return outcome;
  }

  // The same on a terminal, where somebody types `input`. `out` has all it showed.
  static Outcome CtlOnTerminal(const std::vector<std::string>& args, const std::string& input) {
    std::vector<char*> arguments = {const_cast<char*>(kCkptctl)};
    for (const std::string& word : args) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    int terminal = -1;
    const pid_t pid = forkpty(&terminal, nullptr, nullptr, nullptr);
    if (pid == 0) {
      setenv("CKPTD_ADDRESS", daemon_->address().c_str(), 1);
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    EXPECT_EQ(write(terminal, input.data(), input.size()), static_cast<ssize_t>(input.size()));
    Outcome outcome;
    char buffer[4096];
    // The read fails once nobody has the terminal open any more.
    for (ssize_t n; (n = read(terminal, buffer, sizeof(buffer))) > 0;) {
      outcome.out.append(buffer, static_cast<size_t>(n));
    }
    int status = 0;
    waitpid(pid, &status, 0);
    close(terminal);
    outcome.ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    outcome.ended.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return outcome;
  }

  // A .safetensors file with a large and two small tensors; all elements of
  // `large` are `value`, the small ones never change but for `bias`.
  static std::string MakeFile(const std::string& name, float value,
                              size_t large_elements = 300'000) {
    const std::string path = Path(name);
    const std::vector<float> large(large_elements, value);
    const float bias[] = {value, 1};
    const float fixed[] = {1, 2, 3};
    const auto n = static_cast<int64_t>(large.size());
    std::vector<Entry> entries = {
        {.name = "large", .dtype = DType::kF32, .shape = {n}, .length = large.size() * 4},
        {.name = "bias", .dtype = DType::kF32, .shape = {2}, .length = 8},
        {.name = "fixed", .dtype = DType::kF32, .shape = {3}, .length = 12}};
    auto writer = SafetensorsWriter::Create(path, entries, {});
    EXPECT_TRUE(writer.ok()) << writer.status();
    EXPECT_TRUE((*writer)->Write("large", 0, std::as_bytes(std::span(large))).ok());
    EXPECT_TRUE((*writer)->Write("bias", 0, std::as_bytes(std::span(bias))).ok());
    EXPECT_TRUE((*writer)->Write("fixed", 0, std::as_bytes(std::span(fixed))).ok());
    EXPECT_TRUE((*writer)->Finish().ok());
    return path;
  }

  // Commits run@step with `val_loss`; the tensors' value is the step.
  static void Push(const std::string& run, int step, double val_loss = 1) {
    const std::string file =
        MakeFile(fmt::format("push-{}.safetensors", ++commands_), static_cast<float>(step));
    const Outcome outcome = Ctl({"push", file, run, "--step", std::to_string(step), "--metric",
                                 fmt::format("val_loss={}", val_loss)});
    ASSERT_THAT(outcome, ExitsWith(0));
  }

  static std::vector<uint64_t> Steps(const std::string& run) {
    std::vector<uint64_t> steps;
    const nlohmann::json list = Ctl({"list", run, "--json"}).Json();
    for (const auto& c : list["checkpoints"]) {
      steps.push_back(c["step"]);
    }
    return steps;
  }

  // All that the daemon says of its runs and checkpoints: equal when nothing changed.
  static std::string Everything() {
    std::string text;
    const auto runs = Ctl({"runs", "--json"}).Json();
    for (const auto& run : runs["runs"]) {
      const std::string name = run["run"];
      text += run["policy"].dump();
      const auto list = Ctl({"list", name, "-a", "--json"}).Json();
      for (const auto& c : list["checkpoints"]) {
        text += fmt::format("{}@{} {} {} {} {}\n", name, c["step"].dump(), c["id"].dump(),
                            c["pins"].dump(), c["aliases"].dump(), c["reasons"].dump());
      }
      text += Ctl({"history", name, "-n", "0", "--json"}).out;
    }
    auto stats = Ctl({"stats", "--json"}).Json();
    for (const char* key : {"uptime_seconds", "disk_free_bytes", "scrub"}) stats.erase(key);
    return text + stats.dump();
  }

  static inline std::unique_ptr<ckptd::os::TempDir> directory_;
  static inline std::unique_ptr<Daemon> daemon_;
  static inline int commands_ = 0;
};

}  // namespace ckpt::test
