// What keeps a daemon from starting is one sentence and an exit code, and
// changes nothing.
#include <sys/un.h>

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "tests/integration/daemon/harness.h"
#include "tests/integration/daemon/mounts.h"
#include "tests/testing/programs.h"

namespace ckpt::test {
namespace {

class Start : public testing::Test {
 protected:
  // Runs ckptd until it ends; it must fail, with one line that holds `text`.
  void ExpectFails(std::vector<std::string> arguments, const std::string& text, int code = 1) {
    const std::string output = dir_ / fmt::format("output{}", ++outputs_);
    arguments.insert(arguments.begin(), kCkptd);
    Process process(arguments, output);
    const bool over = WaitUntil([&] { return process.Ended(); }, std::chrono::seconds(20));
    ASSERT_TRUE(over) << "it started:\n" << process.Output();
    EXPECT_EQ(process.Wait(), (Ended{.code = code})) << process.Output();
    std::string said = process.Output();
    EXPECT_NE(said.find(text), std::string::npos) << said;
    ASSERT_TRUE(said.ends_with('\n')) << said;
    said.pop_back();
    EXPECT_TRUE(IsOneSentence(said)) << said;
  }

  ckptd::os::TempDir dir_;
  int outputs_ = 0;
  const std::string any_ = "127.0.0.1:0";
};

TEST_F(Start, OnADirectoryOfANewerVersionIsRefused) {
  Daemon daemon(kCkptd, dir_ / "data");
  ASSERT_TRUE(daemon.Start());
  EXPECT_EQ(daemon.Stop(), (Ended{.code = 0}));
  std::ofstream(dir_ / "data/format") << "ckptd 2\n";
  ExpectFails({"--data-dir", dir_ / "data", "--listen", any_}, "newer");
  EXPECT_EQ(ReadFile(dir_ / "data/format"), "ckptd 2\n");
}

TEST_F(Start, OnADirectoryThatIsNotItsOwnIsRefused) {
  std::filesystem::create_directories(dir_ / "data");
  std::ofstream(dir_ / "data/format") << "holiday pictures\n";
  ExpectFails({"--data-dir", dir_ / "data", "--listen", any_}, "format");
}

TEST_F(Start, OnADirectoryInUseIsRefused) {
  Daemon daemon(kCkptd, dir_ / "data");
  ASSERT_TRUE(daemon.Start());
  ExpectFails({"--data-dir", dir_ / "data", "--listen", any_}, "held by another process");
  EXPECT_TRUE(Connect(daemon.address())->GetStats().ok());
}

TEST_F(Start, OnAPortInUseIsRefused) {
  Daemon daemon(kCkptd, dir_ / "data");
  ASSERT_TRUE(daemon.Start());
  ExpectFails({"--data-dir", dir_ / "other", "--listen", daemon.address()}, daemon.address());
  EXPECT_TRUE(Connect(daemon.address())->GetStats().ok());
}

TEST_F(Start, OnAUnixSocketInUseIsRefusedAndTheOwnerKeepsIt) {
  const std::string address = "unix:" + (dir_ / "socket");
  Process first({kCkptd, "--data-dir", dir_ / "data", "--listen", address}, dir_ / "first");
  ASSERT_TRUE(first.WaitForOutput("serves")) << first.Output();
  ExpectFails({"--data-dir", dir_ / "other", "--listen", address}, address);
  EXPECT_TRUE(Connect(address)->GetStats().ok());
}

TEST_F(Start, OnAReadOnlyDirectoryIsRefused) {
  Tmpfs disk(dir_ / "disk", 64 * kMiB);
  CKPT_NEEDS_MOUNT(disk);
  {
    Daemon daemon(kCkptd, dir_ / "disk/data", {"--keep-free", "1MiB"});
    ASSERT_TRUE(daemon.Start());
    auto client = Connect(daemon.address());
    const RunName run{"default", "r"};
    ASSERT_TRUE(PushShard(*client, run, OpenAttempt(*client, run), 1, MakeShard(1, kMiB)).ok());
    EXPECT_EQ(daemon.Stop(), (Ended{.code = 0}));
  }
  ASSERT_TRUE(disk.MakeReadOnly());
  ExpectFails({"--data-dir", dir_ / "disk/data", "--listen", any_}, dir_ / "disk/data");
  ExpectFails({"--data-dir", dir_ / "disk/new", "--listen", any_}, dir_ / "disk/new");
}

TEST_F(Start, WithWrongSettingsIsRefused) {
  struct Row {
    std::vector<std::string> arguments;
    std::string text;
    int code = 2;
  };
  std::ofstream(dir_ / "bad.toml") << "keep-lats = 3\n";
  const std::vector<Row> rows = {
      {{"--listen", "nonsense"}, "nonsense", 1},
      {{"--listen", "127.0.0.1:99999"}, "127.0.0.1:99999", 1},
      {{"--listen", "0.0.0.0:0"}, "--allow-remote", 1},
      {{"--listen", "unix:" + std::string(200, 'x')}, "Unix socket", 1},
      {{"--listen", any_, "--keep-last", "0"}, "keep-last"},
      {{"--listen", any_, "--keep-best", "1:loss"}, "keep-best"},
      {{"--listen", any_, "--drain-timeout", "soon"}, "drain-timeout"},
      {{"--listen", any_, "--log-level", "loud"}, "log-level"},
      {{"--listen", any_, "--config", dir_ / "none.toml"}, "none.toml"},
      {{"--listen", any_, "--config", dir_ / "bad.toml"}, "keep-lats"},
      {{"--listen", any_, "--what"}, "--what"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(fmt::format("{}", fmt::join(row.arguments, " ")));
    std::vector<std::string> arguments = {"--data-dir", dir_ / "data"};
    arguments.insert(arguments.end(), row.arguments.begin(), row.arguments.end());
    ExpectFails(arguments, row.text, row.code);
  }
}

TEST_F(Start, WithoutADaemonTheClientSaysWhereItLooked) {
  const ReservedPort nobodys;
  const std::string gone = "unix:" + (dir_ / "gone");
  for (const std::string& address : {nobodys.address(), gone}) {
    auto client = Connect(address, absl::Milliseconds(300));
    const Shard shard = MakeShard(1, 1000);
    const std::vector<absl::Status> all = {
        client->GetStats().status(),
        client->OpenAttempt({"default", "r"}, "l").status(),
        PushShard(*client, {"default", "r"}, 1, 1, shard).status(),
    };
    for (const absl::Status& status : all) {
      EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
      EXPECT_EQ(ReasonOf(status), reason::kUnreachable) << status;
      EXPECT_TRUE(IsOneSentence(std::string(status.message())));
      EXPECT_NE(status.message().find(address), absl::string_view::npos) << status;
    }
  }
}

}  // namespace
}  // namespace ckpt::test
