#include "tests/bench/usage.h"

#include <unistd.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include <fmt/format.h>

#include "tests/bench/common.h"

namespace ckpt::bench {
namespace {

// The number behind `key` in a file of /proc/PID.
uint64_t FromProc(const DaemonAt& daemon, const char* file, const std::string& key) {
  std::ifstream in(fmt::format("/proc/{}/{}", daemon.pid, file));
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(key)) return std::stoull(line.substr(key.size()));
  }
  Die(fmt::format("no {} in /proc/{}/{}", key, daemon.pid, file));
}

}  // namespace

uint64_t ReadFromDisk(const DaemonAt& daemon) { return FromProc(daemon, "io", "read_bytes:"); }

uint64_t PeakMemory(const DaemonAt& daemon) { return FromProc(daemon, "status", "VmHWM:") << 10; }

void ForgetPeak(const DaemonAt& daemon) {
  std::ofstream out(fmt::format("/proc/{}/clear_refs", daemon.pid));
  if (!(out << "5" << std::flush)) Die("the daemon's peak of memory cannot be reset");
}

double ProcessorTime(const DaemonAt& daemon) {
  std::ifstream in(fmt::format("/proc/{}/stat", daemon.pid));
  const std::string text(std::istreambuf_iterator<char>(in), {});
  // The second word is the program's name in brackets, with any letters in it;
  // user and system time are the 14th and 15th.
  std::istringstream words(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int i = 3; i < 14; ++i) words >> skipped;
  uint64_t user = 0, system = 0;
  if (!(words >> user >> system)) Die(fmt::format("no times in /proc/{}/stat", daemon.pid));
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace ckpt::bench
