// What the daemon costs the machine, as the kernel counts it. Errors end the
// process with a sentence.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace ckpt::bench {

struct DaemonAt {
  std::string address;
  pid_t pid = 0;
};

// Bytes that the daemon has had read from disk so far.
uint64_t ReadFromDisk(const DaemonAt& daemon);
// The daemon's largest resident memory since it started or since ForgetPeak, in bytes.
uint64_t PeakMemory(const DaemonAt& daemon);
void ForgetPeak(const DaemonAt& daemon);
// Seconds of processor time that it has taken so far, on all cores together.
double ProcessorTime(const DaemonAt& daemon);

}  // namespace ckpt::bench
