#include "tests/bench/crowd/crowd.h"

#include <algorithm>
#include <cstddef>
#include <random>
#include <span>
#include <utility>

#include <absl/time/time.h>
#include <fmt/format.h>

#include "tests/bench/common.h"
#include "tests/bench/random.h"

namespace ckpt::bench {
namespace {

constexpr uint32_t kFirstBytes = 1 << 20;  // what a push has sent when it becomes slow
constexpr uint32_t kDropBytes = 4 << 10;   // what it sends a second then
constexpr uint32_t kDrops = 600;           // that it has: ten minutes
constexpr int kPartsOfSecond = 8;          // in which not all move at once

std::unique_ptr<Client> Connect(const std::string& address) {
  return Must(Client::Connect({.address = address}));
}

RunName RunOf(int number) { return {"default", fmt::format("slow-{}", number)}; }

// Not the same from one crowd to the next.
uint64_t NextSeed() {
  static uint64_t seed = uint64_t{std::random_device()()} << 32;
  return ++seed;
}

}  // namespace

// A shard that nobody else has, on its way.
struct Crowd::Push {
  std::vector<std::byte> bytes;
  Manifest manifest;
  std::unique_ptr<test::SlowPush> stream;
  uint32_t sent = 0;  // chunks

  Push() : bytes(kFirstBytes + kDrops * kDropBytes) {
    FillRandom(NextSeed(), bytes);
    for (size_t at = 0; at < bytes.size(); at += manifest.chunks.back().length) {
      const uint32_t length = at == 0 ? kFirstBytes : kDropBytes;
      manifest.chunks.push_back({HashBytes(bytes.data() + at, length), length});
    }
    manifest.entries.push_back({.name = "bytes", .length = bytes.size()});
  }

  // False: the daemon has ended it.
  bool SendNext() {
    if (sent == manifest.chunks.size()) return true;
    const size_t at = sent == 0 ? 0 : kFirstBytes + (sent - 1) * kDropBytes;
    const auto chunk = std::span(bytes).subspan(at, manifest.chunks[sent].length);
    return stream->Send(sent++, chunk);
  }
};

Crowd::Crowd(const std::string& address, uint64_t checkpoint, const CrowdSize& size)
    : address_(address), client_(Connect(address)) {
  const int port = std::stoi(address.substr(address.rfind(':') + 1));
  for (int i = 0; i < size.idle; ++i) idle_.push_back(Must(test::IdleConnection::Open(port)));
  for (int i = 0; i < size.pushes; ++i) BeginPush(i);
  for (int i = 0; i < size.fetches; ++i) {
    fetches_.push_back(std::make_unique<test::SlowFetch>(Connect(address)->channel(), checkpoint));
    fetches_.back()->Take();
  }
  trickle_ = std::thread([this] { Trickle(); });
}

Crowd::~Crowd() {
  if (trickle_.joinable()) End();
}

void Crowd::BeginPush(int number) {
  pushes_.push_back(std::make_unique<Push>());
  Push& push = *pushes_.back();
  ShardOffer offer = {.run = RunOf(number), .step = 1, .manifest = &push.manifest};
  offer.attempt =
      Must(client_->OpenAttempt(offer.run, fmt::format("{}", NextSeed()))).attempt.number;
  const OpenedUpload upload = Must(client_->OpenUpload(offer));
  push.stream = std::make_unique<test::SlowPush>(Connect(address_)->channel(), upload.upload_id);
  push.SendNext();
}

// One that was ended is found at the end.
void Crowd::Trickle() {
  for (size_t part = 0; !enough_.WaitForNotificationWithTimeout(absl::Seconds(1) / kPartsOfSecond);
       ++part) {
    for (size_t i = part % kPartsOfSecond; i < pushes_.size(); i += kPartsOfSecond) {
      pushes_[i]->SendNext();
    }
    if (part % kPartsOfSecond == 0 && !fetches_.empty()) {
      fetches_[part / kPartsOfSecond % fetches_.size()]->Take();
    }
  }
}

CrowdSize Crowd::End() {
  enough_.Notify();
  trickle_.join();
  CrowdSize alive;
  for (const auto& connection : idle_) alive.idle += connection->Answers();
  for (const auto& push : pushes_) {
    const auto counted = push->stream->End();
    alive.pushes += counted.ok() && *counted == push->sent;
  }
  for (const auto& fetch : fetches_) alive.fetches += fetch->End().ok();
  idle_.clear();
  fetches_.clear();
  for (size_t i = 0; i < pushes_.size(); ++i) {
    Must(client_->DeleteRun(RunOf(static_cast<int>(i))).status());
  }
  pushes_.clear();
  return alive;
}

}  // namespace ckpt::bench
