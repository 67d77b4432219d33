// How a daemon says that it is well, is not, and ends.
#include <fstream>
#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/health.h"
#include "tests/integration/daemon/held_push.h"
#include "tests/integration/daemon/mounts.h"
#include "tests/integration/daemon/operated.h"

namespace ckpt::test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const RunName kRun{"default", "health"};
class HealthTest : public testing::Test {
 protected:
  // All that say so agree.
  void ExpectReady(OperatedDaemon& daemon) {
    EXPECT_EQ(daemon.Ask("/readyz").status, 200);
    EXPECT_EQ(daemon.Ask("/readyz").body, "ok\n");
    EXPECT_EQ(daemon.Ask("/healthz").status, 200);
    EXPECT_EQ(daemon.Metric("ckptd_ready"), 1);
    EXPECT_TRUE(
        WaitUntil([&] { return HealthOf(daemon.address(), "ckpt.v1.Checkpoints") == kServing; }));
    const auto health = CheckHealth(*Connect(daemon.address()), absl::Seconds(20));
    ASSERT_TRUE(health.ok()) << health.status();
    EXPECT_TRUE(health->ready);
    EXPECT_TRUE(health->live);
    EXPECT_THAT(health->problems, IsEmpty());
  }
  void ExpectNotReady(OperatedDaemon& daemon, const std::string& why) {
    const HttpReply reply = daemon.Ask("/readyz");
    EXPECT_EQ(reply.status, 503);
    EXPECT_THAT(reply.body, HasSubstr(why));
    EXPECT_EQ(daemon.Ask("/healthz").status, 200) << "starting it anew would not help";
    EXPECT_EQ(daemon.Metric("ckptd_ready"), 0);
    EXPECT_EQ(daemon.Metric("ckptd_live"), 1);
    // The main thread tells gRPC's own health service at its next look.
    EXPECT_TRUE(WaitUntil(
        [&] { return HealthOf(daemon.address(), "ckpt.v1.Checkpoints") == kNotServing; }));
    EXPECT_EQ(HealthOf(daemon.address(), ""), kServing);
    const auto health = CheckHealth(*Connect(daemon.address()), absl::Seconds(20));
    ASSERT_TRUE(health.ok()) << health.status();
    EXPECT_FALSE(health->ready);
    EXPECT_TRUE(health->live);
    EXPECT_THAT(health->problems, Contains(HasSubstr(why)));
  }

  ckptd::os::TempDir dir_;
};

TEST_F(HealthTest, FollowsTheRoomOnTheDisk) {
  Tmpfs disk(dir_ / "disk", 32 * kMiB);
  CKPT_NEEDS_MOUNT(disk);
  OperatedDaemon daemon(dir_ / "disk/data", {"--keep-free", "16MiB"});
  ASSERT_TRUE(daemon.Start());
  ExpectReady(daemon);
  const std::string filler = dir_ / "disk/filler";
  {
    std::ofstream out(filler);
    out << std::string(20 * kMiB, 'x');
  }
  ExpectNotReady(daemon, "keep-free");
  ASSERT_EQ(unlink(filler.c_str()), 0);
  ExpectReady(daemon);
  EXPECT_TRUE(daemon.process().WaitForOutput("ready again"));
  EXPECT_EQ(daemon.Stop(), (Ended{.code = 0}));
}

TEST_F(HealthTest, FollowsWhetherTheDiskMayBeWritten) {
  Tmpfs disk(dir_ / "disk", 64 * kMiB);
  CKPT_NEEDS_MOUNT(disk);
  OperatedDaemon daemon(dir_ / "disk/data", {"--keep-free", "1MiB"});
  ASSERT_TRUE(daemon.Start());
  ExpectReady(daemon);
  // While files are open for writing no disk becomes read-only at a word, but a
  // read-only one can be laid over it.
  const char* data = daemon.data_dir().c_str();
  ASSERT_EQ(mount("tmpfs", data, "tmpfs", MS_RDONLY, "size=64m"), 0) << std::strerror(errno);
  ExpectNotReady(daemon, "cannot write to");
  ASSERT_EQ(umount2(data, MNT_DETACH), 0) << std::strerror(errno);
  ExpectReady(daemon);
}

TEST_F(HealthTest, DrainingSaysSoFirstTakesNothingNewAndWaitsForWhatIsUnderWay) {
  OperatedDaemon daemon(dir_ / "data", {"--drain-timeout", "10m"});
  ASSERT_TRUE(daemon.Start());
  auto client = Connect(daemon.address(), absl::Seconds(60));
  const uint64_t attempt = OpenAttempt(*client, kRun);
  HeldPush push(*client, kRun, attempt);
  push.WaitUntilHalf();
  daemon.process().Signal(SIGTERM);
  ASSERT_TRUE(daemon.process().WaitForOutput("draining: waiting for 1 uploads (health@1 rank 0"))
      << daemon.process().Output();
  ExpectNotReady(daemon, "draining");
  EXPECT_EQ(daemon.Metric("ckptd_draining"), 1);

  auto impatient = Connect(daemon.address(), absl::ZeroDuration());
  const auto attempted = impatient->OpenAttempt(kRun, "another", 1);
  EXPECT_EQ(attempted.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(attempted.status()), reason::kDraining);
  const auto pushed = PushShard(*impatient, kRun, attempt, 2, MakeShard(2, 100));
  EXPECT_EQ(ReasonOf(pushed.status()), reason::kDraining) << pushed.status();
  EXPECT_TRUE(impatient->ListCheckpoints(kRun).ok()) << "looking is no harm";

  // One that is patient comes through once the daemon is back.
  auto later = std::async(std::launch::async,
                          [&] { return PushShard(*client, kRun, attempt, 3, MakeShard(3, 100)); });
  push.GoOn();
  const auto result = push.Result();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(daemon.process().Wait(), (Ended{.code = 0})) << daemon.process().Output();
  ASSERT_TRUE(daemon.Start());
  EXPECT_EQ(FetchShard(*client, result->checkpoint->id), push.shard().bytes);
  const auto third = later.get();
  EXPECT_TRUE(third.ok()) << third.status();
}

TEST_F(HealthTest, ASecondSignalEndsTheWaiting) {
  OperatedDaemon daemon(dir_ / "data", {"--drain-timeout", "10h"});
  ASSERT_TRUE(daemon.Start());
  auto client = Connect(daemon.address(), absl::Seconds(60));
  HeldPush push(*client, kRun, OpenAttempt(*client, kRun));
  push.WaitUntilHalf();
  daemon.process().Signal(SIGINT);
  ASSERT_TRUE(daemon.process().WaitForOutput("draining: waiting for"));
  EXPECT_FALSE(daemon.process().Ended());
  daemon.process().Signal(SIGINT);
  EXPECT_EQ(daemon.process().Wait(), (Ended{.code = 0})) << daemon.process().Output();
  push.GoOn();
  ASSERT_TRUE(daemon.Start());
  EXPECT_TRUE(push.Result().ok());
}

}  // namespace
}  // namespace ckpt::test
