// Programs that the benchmark starts: servers, workers that answer line by line,
// and commands that run to their end. What they print as errors goes to a log.
// They are spawned without copying this process's page tables, which would cost
// its memory a fault a page afterwards, and are killed when it ends.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <string>
#include <vector>

namespace ckpt::bench {

struct Command {
  std::vector<std::string> words;        // the first is looked up in PATH
  std::vector<std::string> environment;  // NAME=VALUE, added to this process's
  std::string log;
};

// One thread at a time.
class Process {
 public:
  explicit Process(const Command& command);
  ~Process();  // kills it if it runs
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Writes a line to its standard input.
  void Tell(const std::string& line);
  // The next line it prints. One that ends instead ends the benchmark.
  std::string Hear();
  // Hears "ok", whatever follows it.
  void HearOk();

  // Waits until it listens on `port`, for 30 s at most.
  void WaitForPort(int port);
  // Closes its standard input.
  void EndInput();
  // Waits for its end: whether it was a good one.
  bool Wait();

 private:
  const std::string name_, log_;
  pid_t pid_ = -1;
  std::FILE* in_ = nullptr;   // what it reads
  std::FILE* out_ = nullptr;  // what it prints
};

// Runs it to its end; seconds. Anything but success ends the benchmark.
double Run(const Command& command);

}  // namespace ckpt::bench
