// Tokens and quotas as who runs a daemon handles them.
#include <sys/stat.h>

#include <fstream>

#include "tests/integration/ckptctl/ckptctl_fixture.h"
#include "tests/testing/programs.h"

namespace ckpt::test {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

class AccessTest : public CkptctlTest {
 protected:
  void SetUp() override {
    Process maker(
        {kCkptd, "--data-dir", guarded_.data_dir(), "--create-admin-token", File("admin")},
        File("maker.log"));
    ASSERT_EQ(maker.Wait(), (Ended{.code = 0})) << maker.Output();
    ASSERT_TRUE(guarded_.Start());
  }
  std::string File(const std::string& name) { return own_ / name; }
  // With the token of file `who`; empty: with none.
  Outcome As(const std::string& who, std::vector<std::string> args) {
    if (!who.empty()) args.insert(args.end(), {"--token-file", File(who)});
    return Ctl(args, guarded_.address());
  }
  // Makes a token and puts it into the file `who`; its id.
  std::string Make(const std::string& who, std::vector<std::string> args) {
    args.insert(args.begin(), {"token", "create", who});
    args.push_back("--json");
    const Outcome made = As("admin", args);
    EXPECT_THAT(made, ExitsWith(0));
    std::ofstream(File(who)) << made.Json()["text"].get<std::string>() << "\n";
    return made.Json()["id"];
  }

  ckptd::os::TempDir own_;
  Daemon guarded_{kCkptd, own_ / "data", {"--auth", "tokens"}};
};

TEST_F(AccessTest, TheFirstTokenIsWrittenForItsOwnerAlone) {
  struct stat info = {};
  ASSERT_EQ(stat(File("admin").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_THAT(ReadFile(File("admin")), MatchesRegex("ckpt_[0-9a-f]+_[0-9a-f]+\n"));
  const std::string secret = ReadFile(File("admin")).substr(22, 64);
  EXPECT_THAT(ReadFile(File("maker.log")), Not(HasSubstr(secret)));
  // Not over another file, and not beside a daemon.
  ckptd::os::TempDir other;
  Process over({kCkptd, "--data-dir", other / "data", "--create-admin-token", File("admin")},
               File("over.log"));
  EXPECT_EQ(over.Wait().code, 1);
  EXPECT_THAT(over.Output(), HasSubstr("name a file that is not there yet"));
  EXPECT_EQ(ReadFile(File("admin")).substr(22, 64), secret);
  Process beside({kCkptd, "--data-dir", guarded_.data_dir(), "--create-admin-token", "-"},
                 File("beside.log"));
  EXPECT_EQ(beside.Wait().code, 1);
  EXPECT_THAT(beside.Output(), HasSubstr("held by another process"));
}

TEST_F(AccessTest, WithoutAToken) {
  const Outcome none = As("", {"runs"});
  EXPECT_THAT(none, ExitsWith(6));
  EXPECT_THAT(none.err, OneSentence());
  EXPECT_THAT(none.err, HasSubstr("CKPTD_TOKEN_FILE"));
}

TEST_F(AccessTest, ATokenIsMadeUsedListedAndRevoked) {
  const Outcome made = As("admin", {"token", "create", "gpu-1", "--role", "write", "--project",
                                    "vision", "--expires", "30d"});
  ASSERT_THAT(made, ExitsWith(0));
  EXPECT_THAT(made.out, MatchesRegex("ckpt_[0-9a-f]{16}_[0-9a-f]{64}\n"));
  EXPECT_THAT(made.err, HasSubstr("gpu-1"));
  EXPECT_THAT(made.err, Not(HasSubstr(made.out.substr(22, 64))));
  std::ofstream(File("gpu-1")) << made.out;
  const std::string id = made.out.substr(5, 16);

  EXPECT_THAT(As("gpu-1", {"push", MakeFile("t.safetensors", 1), "vision/r", "--step", "1"}),
              ExitsWith(0));
  EXPECT_THAT(As("gpu-1", {"runs"}).out, HasSubstr("vision/r"));
  const Outcome low = As("gpu-1", {"delete", "--run", "vision/r", "-y"});
  EXPECT_THAT(low, ExitsWith(6));
  EXPECT_THAT(low.err, HasSubstr("takes a token with role admin"));
  const Outcome other = As("gpu-1", {"list", "r"});
  EXPECT_THAT(other, ExitsWith(6));
  EXPECT_THAT(other.err, HasSubstr("is for project vision and not for default"));

  // How the daemon is, and which, is no secret of a project.
  EXPECT_THAT(As("gpu-1", {"health"}), ExitsWith(0));
  EXPECT_THAT(As("gpu-1", {"version"}), ExitsWith(0));

  const auto tokens = As("admin", {"token", "list", "--json"}).Json()["tokens"];
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_EQ(tokens[0]["id"], id);
  EXPECT_EQ(tokens[0]["project"], "vision");
  EXPECT_EQ(tokens[0]["role"], "write");
  EXPECT_TRUE(tokens[0]["last_used_at"].is_string());
  EXPECT_TRUE(tokens[0]["expires_at"].is_string());
  EXPECT_EQ(tokens[1]["name"], "admin");
  EXPECT_TRUE(tokens[1]["project"].is_null());
  EXPECT_FALSE(tokens[0].contains("text"));

  EXPECT_THAT(As("admin", {"token", "revoke", id}), ExitsWith(0));
  EXPECT_THAT(As("admin", {"token", "revoke", id}), ExitsWith(0));  // is revoked
  const Outcome gone = As("gpu-1", {"runs"});
  EXPECT_THAT(gone, ExitsWith(6));
  EXPECT_THAT(gone.err, OneSentence());
  EXPECT_EQ(As("admin", {"token", "list", "--json"}).Json()["tokens"].size(), 1u);
  EXPECT_THAT(As("admin", {"token", "list", "-a"}).out, HasSubstr("revoked"));
  EXPECT_THAT(As("admin", {"token", "revoke", "0123456789abcdef"}), ExitsWith(3));
}

TEST_F(AccessTest, AProjectsAdminLooksAfterItsOwnTokensOnly) {
  Make("lead", {"--role", "admin", "--project", "vision"});
  const std::string alien = Make("alien", {"--role", "read", "--project", "audio"});
  const Outcome own =
      As("lead", {"token", "create", "x", "--role", "write", "--project", "vision"});
  EXPECT_THAT(own, ExitsWith(0));
  EXPECT_THAT(As("lead", {"token", "create", "x", "--role", "read", "--project", "audio"}),
              ExitsWith(6));
  EXPECT_THAT(As("lead", {"token", "create", "x", "--role", "read", "--all-projects"}),
              ExitsWith(6));
  EXPECT_THAT(As("lead", {"token", "revoke", alien}), ExitsWith(3));
  EXPECT_THAT(As("lead", {"token", "list"}).out, Not(HasSubstr("alien")));
  EXPECT_THAT(As("alien", {"runs"}), ExitsWith(0));
}

TEST_F(AccessTest, AQuotaIsSetShownAndHolds) {
  Make("job", {"--role", "write", "--project", "vision"});
  EXPECT_THAT(As("job", {"quota", "set", "--project", "vision", "--checkpoints", "9"}),
              ExitsWith(6));
  const Outcome set = As("admin", {"quota", "set", "--project", "vision", "--checkpoints", "1",
                                   "--bytes", "1GiB", "--json"});
  ASSERT_THAT(set, ExitsWith(0));
  EXPECT_EQ(set.Json()["checkpoints"]["limit"], 1);
  EXPECT_EQ(set.Json()["bytes"]["limit"], 1073741824);
  EXPECT_TRUE(set.Json()["uploads"]["limit"].is_null());
  const std::string file = MakeFile("q.safetensors", 1);
  EXPECT_THAT(As("job", {"push", file, "vision/r", "--step", "1"}), ExitsWith(0));
  const Outcome over = As("job", {"push", file, "vision/r", "--step", "2"});
  EXPECT_THAT(over, ExitsWith(7));
  EXPECT_THAT(over.err, HasSubstr("may have 1 checkpoints and would have 2"));
  EXPECT_THAT(As("job", {"quota", "get", "--project", "vision"}).out, HasSubstr("1 of 1"));
  EXPECT_THAT(As("admin", {"quota", "set", "--project", "vision", "--checkpoints", "none"}),
              ExitsWith(0));
  EXPECT_THAT(As("job", {"push", file, "vision/r", "--step", "2"}), ExitsWith(0));
  for (const std::vector<std::string>& bad : std::vector<std::vector<std::string>>{
           {"quota", "set"},
           {"quota", "set", "--bytes", "0"},
           {"quota", "set", "--uploads", "many"},
           {"token", "create", "x", "--role", "king"},
           {"token", "create", "a b", "--role", "read"},
           {"token", "create", "x", "--role", "read", "--expires", "soon"},
           {"token", "create", "x", "--role", "read", "--expires", "0"},
           {"token", "create", "x", "--role", "read", "--project", "p", "--all-projects"},
           {"token", "create", "x"},
           {"token", "revoke"}}) {
    const Outcome outcome = As("admin", bad);
    EXPECT_THAT(outcome, ExitsWith(2));
    EXPECT_THAT(outcome.err, OneSentence());
  }
}

}  // namespace
}  // namespace ckpt::test
