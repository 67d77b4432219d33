// Real processes for tests: start, kill, wait, read what they print; and the
// daemon as one. Header-only. One thread at a time a process.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/testing/loopback.h"

namespace ckpt::test {

inline std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Waits until `done`, asking every few milliseconds; false after `limit`.
inline bool WaitUntil(const std::function<bool()>& done,
                      std::chrono::seconds limit = std::chrono::seconds(60)) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  return true;
}

inline bool Listens(int port) {
  const int fd = ConnectTo(port);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

// How a process ended: `code` when it exited, `signal` when one killed it.
struct Ended {
  int code = -1;
  int signal = 0;
  bool operator==(const Ended&) const = default;
};
inline void PrintTo(const Ended& ended, std::ostream* out) {
  ended.signal != 0 ? *out << "killed by signal " << ended.signal
                    : *out << "exit code " << ended.code;
}

// A child; killed and reaped with its object, and with the test.
class Process {
 public:
  // Runs `command` (a path and its arguments) with `environment` added, and
  // appends what it prints, errors too, to the file `output`.
  Process(const std::vector<std::string>& command, std::string output,
          const std::map<std::string, std::string>& environment = {})
      : output_(std::move(output)) {
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(126);
      const int fd = open(output_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
      dup2(fd, STDOUT_FILENO);
      dup2(fd, STDERR_FILENO);
      close(fd);
      for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    EXPECT_GT(pid_, 0) << "cannot start " << command[0];
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (pid_ > 0 && !ended_) {
      Signal(SIGKILL);
      Wait();
    }
  }

  pid_t pid() const { return pid_; }
  void Signal(int signal) const { kill(pid_, signal); }

  // Whether it has ended; reaps it then.
  bool Ended() { return ended_ || Reap(WNOHANG); }
  // Waits for its end. For one that hangs the test's own time limit serves.
  struct Ended Wait() {
    if (!ended_) Reap(0);
    return how_;
  }
  struct Ended KillAndWait(int signal = SIGKILL) {
    Signal(signal);
    return Wait();
  }

  std::string Output() const { return ReadFile(output_); }
  // Waits until it has printed `text`; false when it ended without, or after `limit`.
  bool WaitForOutput(const std::string& text,
                     std::chrono::seconds limit = std::chrono::seconds(60)) {
    bool found = false;
    WaitUntil(
        [&] {
          const bool over = Ended();  // before reading: what it printed last counts
          found = Output().find(text) != std::string::npos;
          return found || over;
        },
        limit);
    return found;
  }

 private:
  bool Reap(int flags) {
    int status = 0;
    if (waitpid(pid_, &status, flags) != pid_) return false;
    ended_ = true;
    if (WIFEXITED(status)) how_ = {.code = WEXITSTATUS(status), .signal = 0};
    if (WIFSIGNALED(status)) how_ = {.code = -1, .signal = WTERMSIG(status)};
    return true;
  }

  std::string output_;
  pid_t pid_ = -1;
  bool ended_ = false;
  struct Ended how_;
};

// ckptd on a port of its own, which it keeps over restarts.
class Daemon {
 public:
  Daemon(std::string binary, std::string data_dir, std::vector<std::string> more = {})
      : binary_(std::move(binary)),
        data_dir_(std::move(data_dir)),
        more_(std::move(more)) {}

  // Starts it and waits until it listens.
  testing::AssertionResult Start() {
    std::vector<std::string> command = {binary_, "--data-dir", data_dir_, "--listen", address()};
    command.insert(command.end(), more_.begin(), more_.end());
    process_ = std::make_unique<Process>(command, output());
    if (WaitUntil([&] { return process_->Ended() || Listens(port_.number()); }) && !process_->Ended()) {
      return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << "ckptd does not listen:\n" << ReadFile(output());
  }
  struct Ended Stop(int signal = SIGTERM) {
    return process_->KillAndWait(signal);
  }

  Process& process() { return *process_; }
  std::string address() const { return port_.address(); }
  const std::string& data_dir() const { return data_dir_; }
  std::string output() const { return data_dir_ + ".log"; }

 protected:
  // Of the next start on.
  void AddFlags(const std::vector<std::string>& flags) {
    more_.insert(more_.end(), flags.begin(), flags.end());
  }

 private:
  std::string binary_, data_dir_;
  std::vector<std::string> more_;
  ReservedPort port_;
  std::unique_ptr<Process> process_;
};

}  // namespace ckpt::test
