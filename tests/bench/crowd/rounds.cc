#include "tests/bench/crowd/rounds.h"

#include <chrono>
#include <cstddef>
#include <random>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "client/upload.h"
#include "proto/limits.h"
#include "tests/bench/common.h"
#include "tests/bench/disk.h"
#include "tests/bench/random.h"

namespace ckpt::bench {
namespace {

constexpr uint64_t kFetchedBytes = 64 << 20;
constexpr auto kPause = std::chrono::seconds(2);

uint64_t PushFetched(const DaemonAt& daemon) {
  const auto client = Must(Client::Connect({.address = daemon.address}));
  std::vector<std::byte> bytes(kFetchedBytes);
  FillRandom(std::random_device()(), bytes);
  Manifest manifest;
  for (size_t at = 0; at < bytes.size(); at += kMaxChunkBytes) {
    manifest.chunks.push_back({HashBytes(bytes.data() + at, kMaxChunkBytes), kMaxChunkBytes});
  }
  manifest.entries.push_back({.name = "bytes", .length = bytes.size()});
  PushRequest request;
  request.offer = {.run = {"default", "fetched"}, .step = 1, .manifest = &manifest};
  request.offer.attempt = Must(client->OpenAttempt(request.offer.run, "crowd")).attempt.number;
  request.source = std::span<const std::byte>(bytes);
  return Must(ckpt::Push(*client, request)).checkpoint->id;
}

}  // namespace

Rounds::Rounds(DaemonAt daemon, std::string directory, const std::string& worker,
               uint64_t bytes_each)
    : daemon_(std::move(daemon)),
      directory_(std::move(directory)),
      fetched_(PushFetched(daemon_)),
      pushers_(worker, daemon_.address, directory_ + "/workers.log", kPushers) {
  pushers_.MakeStates(bytes_each);
}

Round Rounds::Alone() {
  Settle();
  ForgetPeak(daemon_);
  Round round = Push();
  round.memory = PeakMemory(daemon_);
  return round;
}

Round Rounds::BesideCrowd() {
  Settle();
  ForgetPeak(daemon_);
  Crowd crowd(daemon_.address, fetched_, kCrowd);
  // What it takes to come is not what is measured.
  std::this_thread::sleep_for(kPause);
  Round round = Push();
  const CrowdSize alive = crowd.End();
  if (alive != kCrowd) {
    Die(fmt::format(
        "void: at the end of the round {} of {} idle connections, {} of {} slow pushes "
        "and {} of {} slow fetches were still served",
        alive.idle, kCrowd.idle, alive.pushes, kCrowd.pushes, alive.fetches, kCrowd.fetches));
  }
  round.memory = PeakMemory(daemon_);
  return round;
}

void Rounds::Settle() const {
  std::this_thread::sleep_for(kPause);
  bench::Settle(directory_);
}

Round Rounds::Push() {
  const double processor = ProcessorTime(daemon_);
  Round round;
  round.seconds = pushers_.Push();
  round.processor = ProcessorTime(daemon_) - processor;
  return round;
}

}  // namespace ckpt::bench
