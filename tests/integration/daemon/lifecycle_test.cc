// A daemon's life: it drains, is reloaded, tells its health, serves several
// ranks and several listeners.
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "tests/integration/daemon/held_push.h"
#include "tests/integration/daemon/wire.h"
#include "tests/testing/programs.h"

namespace ckpt::test {
namespace {

const RunName kRun{"default", "life"};

class Lifecycle : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(daemon_.Start()); }

  ckptd::os::TempDir dir_;
  Daemon daemon_{kCkptd, dir_ / "data"};
};

TEST_F(Lifecycle, SigtermLetsTheStreamUnderWayEndAndThePushGoesOnAfterTheRestart) {
  auto client = Connect(daemon_.address(), absl::Seconds(60));
  HeldPush push(*client, kRun, OpenAttempt(*client, kRun));
  push.WaitUntilHalf();
  daemon_.process().Signal(SIGTERM);
  EXPECT_TRUE(daemon_.process().WaitForOutput("draining"));
  EXPECT_FALSE(daemon_.process().Ended()) << "it did not wait for the stream";
  push.GoOn();
  EXPECT_EQ(daemon_.process().Wait(), (Ended{.code = 0})) << daemon_.process().Output();

  ASSERT_TRUE(daemon_.Start());
  auto pushed = push.Result();
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(pushed->sent_bytes, pushed->total_bytes) << "what had arrived was sent again";
  EXPECT_EQ(FetchShard(*client, pushed->checkpoint->id), push.shard().bytes);
}

TEST_F(Lifecycle, SigtermEndsAStreamThatDoesNotEndByItself) {
  Daemon daemon(kCkptd, dir_ / "other", {"--drain-timeout", "200ms"});
  ASSERT_TRUE(daemon.Start());
  auto client = Connect(daemon.address(), absl::Seconds(60));
  HeldPush push(*client, kRun, OpenAttempt(*client, kRun));
  push.WaitUntilHalf();
  EXPECT_EQ(daemon.Stop(), (Ended{.code = 0})) << daemon.process().Output();
  push.GoOn();
  ASSERT_TRUE(daemon.Start());
  auto pushed = push.Result();
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(FetchShard(*client, pushed->checkpoint->id), push.shard().bytes);
}

TEST_F(Lifecycle, SigtermDoesNotWaitForClientsThatOnlyKeepTheirConnection) {
  // With the drain timeout this long the test's own time limit would end it.
  Daemon daemon(kCkptd, dir_ / "other", {"--drain-timeout", "10h"});
  ASSERT_TRUE(daemon.Start());
  auto client = Connect(daemon.address());
  ASSERT_TRUE(client->GetStats().ok());
  EXPECT_EQ(daemon.Stop(), (Ended{.code = 0}));
}

TEST_F(Lifecycle, APushRidesOutADaemonThatIsKilled) {
  auto client = Connect(daemon_.address(), absl::Seconds(60));
  HeldPush push(*client, kRun, OpenAttempt(*client, kRun));
  push.WaitUntilHalf();
  daemon_.Stop(SIGKILL);
  push.GoOn();
  ASSERT_TRUE(daemon_.Start());
  auto pushed = push.Result();
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(FetchShard(*client, pushed->checkpoint->id), push.shard().bytes);
}

TEST_F(Lifecycle, SighupReloadsLogLevelAndDefaultPolicyAndKeepsThemOnAMistake) {
  const std::string config = dir_ / "ckptd.toml";
  auto write = [&](const std::string& text) { std::ofstream(config) << text; };
  write("keep-last = 2\nkeep-best = [\"none\"]\nlog-level = \"warn\"\n");
  Daemon daemon(kCkptd, dir_ / "other", {"--config", config});
  ASSERT_TRUE(daemon.Start());
  auto client = Connect(daemon.address());
  EXPECT_EQ(client->GetPolicy()->policy.keep_last, 2u);
  EXPECT_EQ(daemon.process().Output(), "") << "the level was warn";

  write("keep-last = 7\nkeep-best = [\"2:accuracy:max\"]\nlog-level = \"info\"\n");
  daemon.process().Signal(SIGHUP);
  ASSERT_TRUE(daemon.process().WaitForOutput("configuration reloaded"));
  const Policy reloaded = client->GetPolicy()->policy;
  EXPECT_EQ(reloaded.keep_last, 7u);
  EXPECT_EQ(reloaded.keep_best, (std::vector<BestRule>{{"accuracy", MetricMode::kMax, 2}}));

  write("keep-last = 0\n");
  daemon.process().Signal(SIGHUP);
  ASSERT_TRUE(daemon.process().WaitForOutput("was not reloaded"));
  EXPECT_EQ(client->GetPolicy()->policy, reloaded);
}

TEST_F(Lifecycle, HealthAnswersAndReflectionIsNotThere) {
  const auto channel = RawChannel(daemon_.address());
  // HealthCheckRequest{}, HealthCheckResponse{status: SERVING}
  const Reply health = CallRaw(channel, "/grpc.health.v1.Health/Check", {""});
  ASSERT_TRUE(health.status.ok()) << health.status;
  EXPECT_EQ(health.messages, (std::vector<std::string>{"\x08\x01"}));

  // ServerReflectionRequest{list_services: "*"}
  const Reply services = CallRaw(
      channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", {"\x3a\x01*"});
  EXPECT_EQ(services.status.code(), absl::StatusCode::kUnimplemented) << services.status;
}

// The niceness of each thread of the process.
std::set<int> Nicenesses(pid_t pid) {
  std::set<int> found;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid))) {
    const auto thread = static_cast<id_t>(std::stoi(task.path().filename()));
    found.insert(getpriority(PRIO_PROCESS, thread));
  }
  return found;
}

TEST_F(Lifecycle, AllItsThreadsGiveWayToTraining) {
  Daemon other(kCkptd, dir_ / "other", {"--nice", "0"});
  ASSERT_TRUE(other.Start());
  const int started_with = getpriority(PRIO_PROCESS, 0);
  // Background work gives way to all else.
  EXPECT_THAT(Nicenesses(daemon_.process().pid()),
              testing::ElementsAre(std::max(started_with, 10), 19));
  EXPECT_THAT(Nicenesses(other.process().pid()), testing::ElementsAre(started_with, 19));
}

TEST_F(Lifecycle, SeveralListenersServeTheSameRuns) {
  const std::string socket = "unix:" + (dir_ / "socket");
  Daemon daemon(kCkptd, dir_ / "other", {"--listen", socket});
  ASSERT_TRUE(daemon.Start());
  auto tcp = Connect(daemon.address()), local = Connect(socket);
  const Shard shard = MakeShard(1, 9 * kMiB);
  auto pushed = PushShard(*local, kRun, OpenAttempt(*local, kRun), 1, shard);
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(FetchShard(*tcp, pushed->checkpoint->id), shard.bytes);
  EXPECT_EQ(FetchShard(*local, pushed->checkpoint->id), shard.bytes);
  // A killed daemon leaves its socket behind; the next one takes it over.
  daemon.Stop(SIGKILL);
  ASSERT_TRUE(daemon.Start());
  EXPECT_TRUE(local->GetStats().ok());
}

TEST_F(Lifecycle, FourRanksPushOneCheckpointAndResumeWithOneTicket) {
  constexpr uint32_t kRanks = 4;
  std::vector<Shard> shards;
  for (uint32_t rank = 0; rank < kRanks; ++rank) {
    shards.push_back(MakeShard({{"shared", 99, kMiB}, {"own", rank, (5 + rank) * kMiB}}));
  }
  // Each rank a thread with a connection of its own.
  auto by_all_ranks = [&](auto work) {
    std::vector<std::thread> ranks;
    for (uint32_t rank = 0; rank < kRanks; ++rank) {
      ranks.emplace_back([&, rank] { work(*Connect(daemon_.address()), rank); });
    }
    for (std::thread& rank : ranks) rank.join();
  };

  std::atomic<int> committed = 0;
  by_all_ranks([&](Client& client, uint32_t rank) {
    auto opened = client.OpenAttempt(kRun, "first", kRanks);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(opened->attempt.number, 1u);
    auto resumed = client.Resume({.run = kRun, .attempt = 1, .rank = rank});
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(resumed->outcome, ResumeOutcome::kNewRun);
    if (rank == 3) {  // the last one: until it is durable nobody sees a checkpoint
      EXPECT_TRUE(WaitUntil([&] { return committed == -3; }));
      EXPECT_EQ(client.ListCheckpoints(kRun)->size(), 0u);
    }
    auto pushed = PushShard(client, kRun, 1, 7, shards[rank], rank);
    ASSERT_TRUE(pushed.ok()) << pushed.status();
    EXPECT_EQ(pushed->checkpoint.has_value(), rank == 3);
    if (rank != 3) --committed;
  });

  std::vector<ResumeAnswer> answers(kRanks);
  by_all_ranks([&](Client& client, uint32_t rank) {
    auto opened = client.OpenAttempt(kRun, "second", kRanks);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(opened->attempt.number, 2u);
    auto resumed = client.Resume({.run = kRun, .attempt = 2, .rank = rank});
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    answers[rank] = *resumed;
    ASSERT_TRUE(resumed->checkpoint.has_value());
    EXPECT_EQ(FetchShard(client, resumed->checkpoint->id, rank), shards[rank].bytes);
    EXPECT_TRUE(client.ReportLoad({.ticket_id = resumed->ticket_id, .rank = rank}).ok());
  });
  for (const ResumeAnswer& answer : answers) {
    EXPECT_EQ(answer.outcome, ResumeOutcome::kFound);
    EXPECT_EQ(answer.ticket_id, answers[0].ticket_id);
    EXPECT_EQ(answer.checkpoint->id, answers[0].checkpoint->id);
    EXPECT_EQ(answer.checkpoint->step, 7u);
    EXPECT_EQ(answer.checkpoint->world_size, kRanks);
  }
}

}  // namespace
}  // namespace ckpt::test
