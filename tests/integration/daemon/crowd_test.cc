// A thousand connections that do nothing, and streams on which nothing moves, do
// not keep eight pushers from their work, nor take the daemon's memory.
#include <sys/resource.h>

#include <algorithm>

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "proto/limits.h"
#include "tests/integration/daemon/wire.h"
#include "tests/testing/programs.h"
#include "tests/testing/sanitizers.h"
#include "tests/testing/slow_peers.h"

namespace ckpt::test {
namespace {

constexpr int kIdleConnections = 1000;
constexpr int kSlowPushes = 64;
constexpr int kSlowFetches = 8;
constexpr int kPushers = 8;
constexpr uint64_t kMemory = 512 * kMiB;

TEST(Crowd, OfIdleAndSlowPeersLeavesRoomForWork) {
  rlimit files = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);  // the daemon's too
  ASSERT_GT(files.rlim_cur, 2u * kIdleConnections);
  ckptd::os::TempDir dir;
  Daemon daemon(kCkptd, dir / "data", {"--idle-timeout", "5s", "--memory-limit", "256MiB"});
  ASSERT_TRUE(daemon.Start());
  auto client = Connect(daemon.address(), absl::Minutes(2));
  const RunName run{"default", "work"};
  const Shard large = MakeShard({{"w", 500, 64 * kMiB}});
  const auto pushed = PushShard(*client, run, OpenAttempt(*client, run), 1, large);
  ASSERT_TRUE(pushed.ok()) << pushed.status();

  const int port = std::stoi(daemon.address().substr(daemon.address().rfind(':') + 1));
  std::vector<std::unique_ptr<IdleConnection>> idle;
  for (int i = 0; i < kIdleConnections; ++i) {
    auto opened = IdleConnection::Open(port);
    ASSERT_TRUE(opened.ok()) << opened.status();
    idle.push_back(*std::move(opened));
  }

  const auto channel = RawChannel(daemon.address());
  std::vector<Shard> shards;
  std::vector<std::unique_ptr<SlowPush>> pushes;
  for (int i = 0; i < kSlowPushes; ++i) {
    const RunName slow{"default", fmt::format("slow{}", i)};
    shards.push_back(MakeShard({{"w", 600 + static_cast<uint64_t>(i), kMiB}, {"v", 7, 300000}}));
    auto upload = client->OpenUpload({.run = slow,
                                      .attempt = OpenAttempt(*client, slow),
                                      .step = 1,
                                      .manifest = &shards.back().manifest});
    ASSERT_TRUE(upload.ok()) << upload.status();
    pushes.push_back(std::make_unique<SlowPush>(channel, upload->upload_id));
    EXPECT_TRUE(pushes.back()->Send(0, std::span(shards.back().bytes).first(kMiB)));
  }
  std::vector<std::unique_ptr<SlowFetch>> fetches;
  for (int i = 0; i < kSlowFetches; ++i) {
    fetches.push_back(
        std::make_unique<SlowFetch>(RawChannel(daemon.address()), pushed->checkpoint->id));
  }

  // Meanwhile: work.
  std::vector<absl::Status> results(kPushers);
  std::vector<std::thread> workers;
  for (int i = 0; i < kPushers; ++i) {
    workers.emplace_back([&, i] {
      auto worker = Connect(daemon.address(), absl::Minutes(2));
      const RunName own{"default", fmt::format("work{}", i)};
      const auto seed = static_cast<uint64_t>(900 + i);
      const Manifest manifest = MakeManifest(seed, 48 * kMiB);
      PushRequest request;
      request.offer = {
          .run = own, .attempt = OpenAttempt(*worker, own), .step = 1, .manifest = &manifest};
      request.source = ReadRandom(seed);
      results[static_cast<size_t>(i)] = Push(*worker, request).status();
    });
  }
  for (std::thread& worker : workers) worker.join();
  for (const absl::Status& result : results) EXPECT_TRUE(result.ok()) << result;
  if (!kSanitized) {
    const Memory memory = MemoryOf(daemon.process().pid());
    EXPECT_LT(memory.peak, kMemory) << memory.peak / kMiB << " MiB";
  }
  EXPECT_EQ(std::ranges::count_if(idle, [](const auto& each) { return each->Answers(); }),
            kIdleConnections);

  for (const auto& push : pushes) {
    const absl::Status ended = push->WaitForEnd();
    EXPECT_EQ(ended.code(), absl::StatusCode::kUnavailable) << ended;
    EXPECT_EQ(ReasonOf(ended), reason::kStreamIdle) << ended;
    EXPECT_TRUE(IsOneSentence(std::string(ended.message())));
  }
  // Who takes nothing is not told: only then may the rest be read.
  const auto given_up = [&] {
    int count = 0;
    const std::string log = daemon.process().Output();
    for (size_t at = 0; (at = log.find("is given up", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  EXPECT_TRUE(WaitUntil([&] { return given_up() == kSlowFetches; })) << given_up();
  for (const auto& fetch : fetches) {
    const absl::Status ended = fetch->End();
    EXPECT_EQ(ended.code(), absl::StatusCode::kCancelled) << ended;
  }
  // What a slow push sent is kept: its client goes on from there.
  for (int i = 0; i < kSlowPushes; i += 16) {
    const RunName slow{"default", fmt::format("slow{}", i)};
    const auto finished = PushShard(*client, slow, 1, 1, shards[static_cast<size_t>(i)]);
    ASSERT_TRUE(finished.ok()) << finished.status();
    EXPECT_LT(finished->sent_bytes, finished->total_bytes);
  }
  EXPECT_EQ(FetchShard(*client, pushed->checkpoint->id), large.bytes);
}

}  // namespace
}  // namespace ckpt::test
