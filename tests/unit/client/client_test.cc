#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/client/fake_daemon.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr char kNobody[] = "127.0.0.1:1";

TEST(Client, RidesOutADaemonThatIsBusyStarting) {
  FakeDaemon daemon;
  daemon.refuse_calls = 3;
  const auto opened = daemon.Connect()->OpenAttempt({"", "run"}, "launch", 4);
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->attempt.world_size, 4u);
  EXPECT_EQ(daemon.refuse_calls, 0);
}

TEST(Client, GivesAllTriesOfACallOneIdAndEachCallAnother) {
  FakeDaemon daemon;
  const auto client = daemon.Connect();
  for (const int refused : {2, 0}) {
    daemon.refuse_calls = refused;
    ASSERT_TRUE(client->OpenAttempt({"", "run"}, "launch").ok());
  }
  const std::vector<std::string> ids = daemon.request_ids();
  ASSERT_EQ(ids.size(), 4u);
  EXPECT_THAT(ids[0], MatchesRegex("[0-9a-f]{32}"));
  EXPECT_EQ(ids[1], ids[0]);
  EXPECT_EQ(ids[2], ids[0]);
  EXPECT_NE(ids[3], ids[0]);
}

TEST(Client, SaysThatTheDaemonIsUnreachable) {
  ClientOptions options{.address = kNobody};
  options.retry.window = absl::ZeroDuration();
  const auto client = *Client::Connect(options);
  const absl::Status status = client->GetStats().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(HasReason(status, reason::kUnreachable)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot reach ckptd at 127.0.0.1:1"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("is it running?"));
}

TEST(Client, KeepsTheDaemonsReason) {
  FakeDaemon daemon;
  const auto status =
      daemon.Connect()->Resume({.run = {"", "run"}, .require_resume = true}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(HasReason(status, reason::kResumeRequired)) << status;
}

TEST(Client, NamesAPeerThatIsNoCkptd) {
  FakeDaemon daemon;  // does not implement this call
  const auto status = daemon.Connect()->GetStats().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("it is no ckptd"));
}

TEST(Client, RefusesABadAddressAtOnce) {
  EXPECT_EQ(Client::Connect({.address = "nonsense"}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Client, FollowsPages) {
  FakeDaemon daemon;
  const auto runs = daemon.Connect()->ListRuns();
  ASSERT_TRUE(runs.ok()) << runs.status();
  ASSERT_EQ(runs->size(), 5u);
  EXPECT_EQ(runs->back().name.run, "run-4");
}

TEST(Client, ComesBackAfterARestart) {
  FakeDaemon daemon;
  const auto client = daemon.Connect();
  ASSERT_TRUE(client->ListRuns().ok());
  daemon.Stop();
  daemon.Start();
  EXPECT_TRUE(client->ListRuns().ok());
}

}  // namespace
}  // namespace ckpt
