#include "tests/bench/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <thread>

#include "tests/bench/common.h"
#include "tests/testing/loopback.h"

namespace ckpt::bench {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  return pointers;
}

}  // namespace

Process::Process(const Command& command) : name_(command.words[0]), log_(command.log) {
  // The kernel ends it with us, however we end.
  std::vector<std::string> words = {"setpriv", "--pdeathsig", "KILL", "--"};
  words.insert(words.end(), command.words.begin(), command.words.end());
  std::vector<char*> arguments = Pointers(words);
  arguments.push_back(nullptr);
  std::vector<char*> environment = Pointers(command.environment);  // ours first: it wins
  for (char** item = environ; *item != nullptr; ++item) environment.push_back(*item);
  environment.push_back(nullptr);

  std::array<int, 2> in, out;
  if (pipe2(in.data(), O_CLOEXEC) != 0 || pipe2(out.data(), O_CLOEXEC) != 0) Die("no more pipes");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log_.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0666);
  const int error =
      posix_spawnp(&pid_, arguments[0], &actions, nullptr, arguments.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  if (error != 0) Die(fmt::format("{} could not be started: {}", name_, std::strerror(error)));
  in_ = fdopen(in[1], "w");
  out_ = fdopen(out[0], "r");
}

Process::~Process() {
  EndInput();
  fclose(out_);
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
}

void Process::Tell(const std::string& line) {
  if (std::fputs((line + "\n").c_str(), in_) < 0 || std::fflush(in_) != 0) {
    Die(fmt::format("{} ended early, see {}", name_, log_));
  }
}

std::string Process::Hear() {
  char* line = nullptr;
  size_t room = 0;
  const ssize_t size = getline(&line, &room, out_);
  std::string heard(line, size > 0 ? static_cast<size_t>(size) - 1 : 0);
  free(line);
  if (size <= 0) Die(fmt::format("{} ended early, see {}", name_, log_));
  return heard;
}

void Process::HearOk() {
  const std::string heard = Hear();
  if (!heard.starts_with("ok")) Die(fmt::format("{} says: {}", name_, heard));
}

void Process::WaitForPort(int port) {
  for (int tries = 0; tries < 3000; ++tries) {
    if (const int fd = test::ConnectTo(port); fd >= 0) {
      close(fd);
      return;
    }
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  Die(fmt::format("{} does not listen, see {}", name_, log_));
}

void Process::EndInput() {
  if (in_ != nullptr) fclose(in_);
  in_ = nullptr;
}

bool Process::Wait() {
  // Lest it waits for somebody to read what it says.
  std::array<char, 4096> unread;
  while (fread(unread.data(), 1, unread.size(), out_) > 0) continue;
  int status = 0;
  const bool reaped = waitpid(pid_, &status, 0) == pid_;
  pid_ = -1;
  return reaped && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

double Run(const Command& command) {
  return Timed([&] {
    if (!Process(command).Wait()) {
      Die(fmt::format("{} failed, see {}", command.words[0], command.log));
    }
  });
}

}  // namespace ckpt::bench
