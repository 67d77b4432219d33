// ckptd is killed with SIGKILL at random moments of pushes and prunes: what it
// acknowledged is there, nothing else is, and no space is lost.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "client/upload.h"
#include "proto/limits.h"
#include "tests/crash/checks.h"
#include "tests/crash/contents.h"
#include "tests/crash/model.h"
#include "tests/crash/worker.h"

namespace ckpt::crash {
namespace {

constexpr uint64_t kDefaultKills = 200;
constexpr uint64_t kLookAtAllEvery = 20;  // kills

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

// Printed, so that a failure can be had again (as far as timing allows).
uint64_t Seed() {
  static const uint64_t seed = FromEnvironment("CKPT_CRASH_SEED", std::random_device()());
  std::cout << "CKPT_CRASH_SEED=" << seed << std::endl;
  return seed;
}

class CrashTest : public testing::Test {
 protected:
  // History is encoded as soon as there is some, so that kills hit that, too.
  void SetUp() override { setenv("CKPTD_COMPRESS_RATE", "0", /*overwrite=*/1); }
  void TearDown() override {
    if (HasFailure()) std::cout << "the end of the daemon's log:\n" << house_.Log() << std::endl;
  }

  House house_;
};

TEST_F(CrashTest, KeepsWhatItAcknowledgedAndNothingElse) {
  Random random(Seed());
  const uint64_t kills = FromEnvironment("CKPT_CRASH_KILLS", kDefaultKills);
  RunModel plain({"default", "plain"}, 1, false), ranked({"default", "ranked"}, 2, true),
      sharing({"default", "sharing"}, 1, true), other({"other", "plain"}, 1, false);
  const std::vector<RunModel*> runs = {&plain, &ranked, &sharing, &other};

  Gate gate;
  Worker first(random(), &house_, &gate, {&plain, &ranked});
  Worker second(random(), &house_, &gate, {&sharing, &other});
  ASSERT_TRUE(house_.Start());
  std::thread first_thread([&] { first.Run(); }), second_thread([&] { second.Run(); });
  gate.AwaitParked(2);

  for (uint64_t kill = 1; kill <= kills && !HasFailure(); ++kill) {
    gate.Open(house_.kills());
    absl::SleepFor(absl::Microseconds(Below(random, 300'000)));
    house_.Kill();
    gate.Close();
    const bool all = kill % kLookAtAllEvery == 0;
    if (all) {
      EXPECT_EQ(house_.CheckCatalog(), absl::OkStatus());
    }
    // Now and then recovery is killed, too; that comes on top.
    if (Chance(random, 0.15)) house_.KillStarting(absl::Microseconds(Below(random, 80'000)));
    SCOPED_TRACE(testing::Message() << "after kill " << kill);
    EXPECT_TRUE(house_.Start());
    gate.AwaitParked(2);

    const std::unique_ptr<Client> client = Connect(house_.address(), Patience::kRestart);
    for (RunModel* run : runs) EXPECT_EQ(CheckRun(*client, *run, all), absl::OkStatus());
    EXPECT_EQ(CheckSpace(*client, house_, runs), absl::OkStatus());
  }
  gate.End();
  first_thread.join();
  second_thread.join();
  ASSERT_FALSE(HasFailure());

  const std::unique_ptr<Client> client = Connect(house_.address(), Patience::kRestart);
  for (RunModel* run : runs) EXPECT_EQ(CheckRun(*client, *run, true), absl::OkStatus());
  for (RunModel* run : runs) {
    if (!run->exists) continue;
    EXPECT_EQ(client->DeleteRun(run->name).status(), absl::OkStatus());
    run->Apply({.kind = Change::Kind::kDeleteRun});
  }
  EXPECT_EQ(CheckSpace(*client, house_, runs), absl::OkStatus());
  EXPECT_EQ(house_.MeasurePacks().files, 0u) << "packs that nobody needs";
  house_.Kill();
  EXPECT_EQ(house_.CheckCatalog(), absl::OkStatus());

  uint64_t commits = 0;
  for (const Worker* worker : {&first, &second}) {
    const Tally& tally = worker->tally();
    std::cout << tally.calls << " calls, " << tally.commits << " commits, " << tally.unanswered
              << " left unanswered, " << tally.ridden_out << " ridden out, " << tally.repeated
              << " made again by their id" << std::endl;
    commits += tally.commits;
  }
  EXPECT_GE(commits, kills / 4) << "hardly anything was pushed";
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
    absl::SleepFor(absl::Milliseconds(25));
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
    absl::SleepFor(absl::Microseconds(Below(random, 25'000)));
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
