// ckptd is killed with SIGKILL at random moments of pushes and prunes: what it
// acknowledged is there, nothing else is, and no space is lost.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <thread>

#include <gtest/gtest.h>

#include "client/upload.h"
#include "proto/limits.h"
#include "tests/crash/checks.h"
#include "tests/crash/contents.h"
#include "tests/crash/process_house.h"
#include "tests/crash/trial.h"
#include "tests/testing/sanitizers.h"

namespace ckpt::crash {
namespace {

constexpr uint64_t kDefaultKills = 100;

class CrashTest : public testing::Test {
 protected:
  // History is encoded as soon as there is some, so that kills hit that, too.
  void SetUp() override { setenv("CKPTD_COMPRESS_RATE", "0", /*overwrite=*/1); }
  void TearDown() override {
    if (HasFailure()) std::cout << "the end of the daemon's log:\n" << house_.Log() << std::endl;
  }

  ProcessHouse house_;
};

TEST_F(CrashTest, KeepsWhatItAcknowledgedAndNothingElse) {
  Random random(Seed());
  const uint64_t kills = FromEnvironment("CKPT_CRASH_KILLS", kDefaultKills);
  Trial trial(&house_, random);
  trial.Run(kills, [&](uint64_t) {
    absl::SleepFor(absl::Microseconds(Below(random, 300'000)));
    house_.Kill();
    // Now and then recovery is killed, too; that comes on top.
    if (Chance(random, 0.15)) house_.KillStarting(absl::Microseconds(Below(random, 80'000)));
  });
  trial.Finish();
  EXPECT_GE(trial.commits(), kills / 4) << "hardly anything was pushed";
}

TEST_F(CrashTest, APushRidesOutKillsAndSendsOnlyWhatWasLost) {
  constexpr uint32_t kChunks = 16;  // of 4 MiB
  constexpr int kKills = 3;
  Random random(Seed());
  const std::shared_ptr<const Shard> shard = FreshShard(random, kChunks);
  const uint64_t size = shard->manifest.bytes();
  Staging staging;
  ASSERT_EQ(Fill(shard->parts, staging), absl::OkStatus());
  ASSERT_TRUE(house_.Start());
  const std::unique_ptr<Client> client = Connect(house_.address(), Patience::kRestart);
  const RunName run = {"default", "long"};
  const auto opened = client->OpenAttempt(run, "launch");
  ASSERT_TRUE(opened.ok()) << opened.status();

  // As slow as a network: the daemon has written nearly all that was sent.
  std::atomic<uint32_t> read = 0;
  const ChunkReader reader = [&](uint32_t, uint64_t offset, std::span<std::byte> into) {
    ++read;
    absl::SleepFor(absl::Milliseconds(test::kSanitized ? 200 : 25));
    std::memcpy(into.data(), staging.bytes().data() + offset, into.size());
    return absl::OkStatus();
  };
  std::atomic<bool> done = false;
  absl::StatusOr<PushResult> pushed;
  std::thread pusher([&] {
    pushed = Push(*client, {.offer = {.run = run,
                                      .attempt = opened->attempt.number,
                                      .step = 1,
                                      .manifest = &shard->manifest},
                            .source = reader});
    done = true;
  });
  int kills = 0;
  for (; kills < kKills; ++kills) {
    // Far enough that losing what was written would cost more than is allowed below.
    const uint32_t enough = read + 4 + static_cast<uint32_t>(Below(random, 2));
    if (!test::WaitUntil([&] { return done || read >= enough; }) || done) break;
    absl::SleepFor(absl::Microseconds(Below(random, test::kSanitized ? 200'000 : 25'000)));
    house_.Kill();
    EXPECT_TRUE(house_.Start());
  }
  pusher.join();

  ASSERT_TRUE(pushed.ok()) << pushed.status();
  ASSERT_TRUE(pushed->checkpoint);
  EXPECT_EQ(CheckContents(*client, pushed->checkpoint->id, 0, *shard), absl::OkStatus());
  // Each kill costs what was on its way, never what was written before.
  std::cout << kills << " kills; " << size << " bytes, " << pushed->sent_bytes << " sent"
            << std::endl;
  EXPECT_GE(kills, 2);
  EXPECT_LE(pushed->sent_bytes, size + static_cast<uint64_t>(kills) * 2 * kMaxChunkBytes);
}

TEST_F(CrashTest, AClientIsBackWithinAWindowOfFourSeconds) {
  ClientOptions options{.address = house_.address()};
  options.retry.window = absl::Seconds(4);  // gRPC left to itself looks every five
  const auto client = Client::Connect(options);
  ASSERT_TRUE(client.ok()) << client.status();
  ASSERT_TRUE(house_.Start());
  for (int restart = 1; restart <= 4; ++restart) {
    ASSERT_EQ((*client)->GetStats().status(), absl::OkStatus());
    house_.Kill();
    absl::Status status;
    std::thread caller([&] { status = (*client)->GetStats().status(); });
    EXPECT_TRUE(house_.Start());
    caller.join();
    EXPECT_EQ(status, absl::OkStatus()) << "after restart " << restart;
  }
}

}  // namespace
}  // namespace ckpt::crash
