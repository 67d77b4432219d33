#include "tests/bench/daemon.h"

#include <absl/time/clock.h>

#include "client/download.h"
#include "tests/bench/common.h"

namespace ckpt::bench {
namespace {

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

}  // namespace ckpt::bench
