#include "tests/bench/daemon.h"

#include <fstream>

#include <absl/time/clock.h>
#include <fmt/format.h>

#include "client/download.h"
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

RunName NameOf(const std::string& run) { return {"default", run}; }

}  // namespace

Saver::Saver(const DaemonAt& daemon, const std::string& run) {
  CheckpointerOptions options;
  options.client.address = daemon.address;
  options.run = NameOf(run);
  options.policy.emplace().keep_last = 1;
  options.on_result = [this](const SaveResult& result) { result_ = result; };
  checkpointer_ = Must(Checkpointer::Open(std::move(options)));
}

void Saver::Begin(const Tensors& tensors) {
  // Later than any step of a Saver of before.
  const auto step = static_cast<uint64_t>(absl::ToUnixMillis(absl::Now()));
  Must(checkpointer_->Save(step, StateOf(tensors)).status());
}

SaveResult Saver::End() {
  Must(checkpointer_->Flush());
  return result_;
}

void DeleteRun(const DaemonAt& daemon, const std::string& run) {
  const auto client = Must(Client::Connect({.address = daemon.address}));
  Must(client->DeleteRun(NameOf(run)).status());
}

double FetchLatest(const DaemonAt& daemon, const std::string& run, Tensors& into) {
  std::vector<Destination> destinations;
  for (const Named& named : into) {
    destinations.push_back(
        {.entry = named.name, .data = static_cast<std::byte*>(named.tensor.data_ptr())});
  }
  return Timed([&] {
    const auto client = Must(Client::Connect({.address = daemon.address}));
    const Resolved resolved = Must(client->Resolve(NameOf(run), SelectLatest{}));
    const Manifest manifest = Must(client->GetManifest(resolved.checkpoint.id, 0));
    Must(FetchInto(*client, resolved.checkpoint.id, 0, manifest, destinations));
  });
}

uint64_t ReadFromDisk(const DaemonAt& daemon) { return FromProc(daemon, "io", "read_bytes:"); }

uint64_t PeakMemory(const DaemonAt& daemon) { return FromProc(daemon, "status", "VmHWM:") << 10; }

void ForgetPeak(const DaemonAt& daemon) {
  std::ofstream out(fmt::format("/proc/{}/clear_refs", daemon.pid));
  if (!(out << "5" << std::flush)) Die("the daemon's peak of memory cannot be reset");
}

}  // namespace ckpt::bench
