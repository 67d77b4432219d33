#include "client/ckptctl/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/ckptctl/exit_codes.h"

namespace ckpt::ctl {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class CommandLineTest : public ::testing::Test {
 protected:
  absl::Status Parse(const std::vector<std::string>& args) {
    bool handled = false;
    return ParseCommandLine(*app_, args, handled);
  }
  std::vector<std::string> Completions(const std::vector<std::string>& words) {
    return Complete(*app_, session_, words);
  }

  Session session_;
  std::unique_ptr<CLI::App> app_ = BuildCommandLine(session_);
};

TEST_F(CommandLineTest, SaysWhatIsWrongInOneSentence) {
  const struct {
    std::vector<std::string> args;
    const char* message;
  } kCases[] = {
      {{}, "a verb is missing"},
      {{"lsit"}, "no verb 'lsit'; did you mean 'list'?"},
      {{"frobnicate"}, "no verb 'frobnicate'; see ckptctl --help"},
      {{"--address", "x", "lits", "gpt"}, "did you mean 'list'?"},
      {{"x\x1b[2J"}, "x\\x1b[2J"},
      {{"list"}, "list: RUN is required"},
      {{"list", "gpt", "--jsno"}, "ckptctl list has no flag '--jsno'; did you mean '--json'?"},
      {{"list", "gpt", "--wibble=3"}, "ckptctl list has no flag '--wibble'"},
      {{"list", "gpt", "extra"}, "extra"},
      {{"list", "gpt", "-o", "xml"}, "xml"},
      {{"fetch", "gpt@latest"}, "--output is required"},
      {{"fetch", "gpt@1", "-o", "x", "--rank", "-1"}, "--rank"},
      {{"policy"}, "ckptctl policy needs one of: get, set"},
      {{"policy", "sett", "gpt"}, "ckptctl policy has no verb 'sett'; did you mean 'set'?"},
      {{"completion", "fish"}, "fish"},
      {{"push", "f.safetensors", "gpt"}, "--step is required"},
      {{"backup"}, "backup: FILE is required"},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.message);
    // A parser is not used twice.
    Session session;
    const auto app = BuildCommandLine(session);
    bool handled = false;
    const absl::Status status = ParseCommandLine(*app, c.args, handled);
    EXPECT_FALSE(handled);
    EXPECT_EQ(ExitCodeOf(status), kExitUsage);
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("\n")));
  }
}

TEST_F(CommandLineTest, ARunMayBeNamedAsAVerb) { EXPECT_TRUE(Parse({"list", "prune"}).ok()); }

TEST_F(CommandLineTest, CommonFlagsStandBeforeAndAfterTheVerb) {
  EXPECT_TRUE(Parse({"--address", "localhost:1", "list", "gpt", "--json", "--wait", "1s"}).ok());
}

TEST_F(CommandLineTest, CompletesVerbsFlagsAndWords) {
  EXPECT_THAT(Completions({""}), Contains("fetch"));
  EXPECT_THAT(Completions({""}), Not(Contains("__complete")));
  EXPECT_THAT(Completions({"de"}), ElementsAre("delete", "describe"));
  EXPECT_THAT(Completions({"list", "--j"}), ElementsAre("--json"));
  EXPECT_THAT(Completions({"policy", ""}), ElementsAre("get", "set"));
  EXPECT_THAT(Completions({"policy", "set", "gpt", "--unset", "keep-l"}), ElementsAre("keep-last"));
  EXPECT_THAT(Completions({"list", "gpt", "-o", ""}), ElementsAre("json", "table"));
  EXPECT_THAT(Completions({"completion", "b"}), ElementsAre("bash"));
}

TEST_F(CommandLineTest, CompletesNothingWhereFilesAreWantedOrNobodyAnswers) {
  ASSERT_TRUE(Parse({"--address", "unix:/nonexistent/ckptd.sock", "__complete"}).ok());
  EXPECT_THAT(Completions({"fetch", "gpt@1", "-o", ""}), IsEmpty());
  EXPECT_THAT(Completions({"push", ""}), IsEmpty());
  EXPECT_THAT(Completions({"list", ""}), IsEmpty());
  EXPECT_THAT(Completions({"nonsense", ""}), IsEmpty());
}

TEST(Nearest, FindsSlipsOnly) {
  EXPECT_EQ(Nearest("lsit", {"list", "fetch"}), "list");
  EXPECT_EQ(Nearest("desc", {"delete", "describe"}), "describe");
  EXPECT_EQ(Nearest("xyzzy", {"list", "fetch"}), "");
}

TEST(ExitCodes, FollowTheStatus) {
  const std::pair<absl::Status, ExitCode> kCases[] = {
      {absl::OkStatus(), kExitOk},
      {absl::InvalidArgumentError("x"), kExitUsage},
      {absl::NotFoundError("x"), kExitNotFound},
      {absl::UnavailableError("x"), kExitUnreachable},
      {absl::DataLossError("x"), kExitDamaged},
      {absl::FailedPreconditionError("x"), kExitRefused},
      {absl::AlreadyExistsError("x"), kExitRefused},
      {absl::ResourceExhaustedError("x"), kExitNoSpace},
      {absl::CancelledError("x"), kExitInterrupted},
      {absl::InternalError("x"), kExitFailed},
  };
  for (const auto& [status, code] : kCases) EXPECT_EQ(ExitCodeOf(status), code) << status;
}

}  // namespace
}  // namespace ckpt::ctl
