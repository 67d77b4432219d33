// Looking: runs, list, describe, stats, version, watch, help, completion.
#include "tests/integration/ckptctl/ckptctl_fixture.h"
#include "tests/testing/programs.h"

namespace ckpt::test {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class LookingTest : public CkptctlTest {};

TEST_F(LookingTest, ListSaysWhyEachIsKept) {
  for (int step : {100, 200, 300, 400}) Push("why", step, step == 100 ? 0.5 : 2);
  const Outcome list = Ctl({"list", "why"});
  ASSERT_THAT(list, ExitsWith(0));
  EXPECT_THAT(list.out, StartsWith("STEP"));
  EXPECT_THAT(list.out, HasSubstr("val_loss"));
  EXPECT_THAT(list.out, HasSubstr("WHY"));
  EXPECT_THAT(list.out, HasSubstr("best val_loss #1"));
  EXPECT_THAT(list.out, HasSubstr("last 1/3"));
  const auto json = Ctl({"list", "why", "-o", "json"}).Json();
  EXPECT_EQ(json["checkpoints"].size(), 4u);
  EXPECT_EQ(Ctl({"list", "why", "-n", "2", "--json"}).Json()["checkpoints"].size(), 2u);
  EXPECT_EQ(Ctl({"list", "why", "--min-step", "200", "--max-step", "300", "--json"})
                .Json()["checkpoints"]
                .size(),
            2u);
  EXPECT_THAT(Ctl({"list", "why", "--pinned"}).out, HasSubstr("No checkpoint matches."));
}

TEST_F(LookingTest, RunsAndDescribe) {
  Push("seen", 5);
  const Outcome runs = Ctl({"runs"});
  EXPECT_THAT(runs.out, HasSubstr("seen"));
  EXPECT_THAT(runs.out, HasSubstr("keep_last=3"));
  EXPECT_EQ(Ctl({"runs", "see", "--json"}).Json()["runs"].size(), 1u);
  EXPECT_THAT(Ctl({"describe", "seen"}).out, HasSubstr("Latest:"));
  const Outcome checkpoint = Ctl({"describe", "seen@latest", "--entries"});
  EXPECT_THAT(checkpoint.out, HasSubstr("seen@5"));
  EXPECT_THAT(checkpoint.out, HasSubstr("[300000]"));
  const auto json = Ctl({"describe", "seen@5", "--entries", "--json"}).Json();
  EXPECT_EQ(json["entries"].size(), 3u);
  EXPECT_FALSE(json["events"].empty());
  EXPECT_EQ(
      Ctl({"describe", fmt::format("seen@id:{}", json["id"].dump()), "--json"}).Json()["step"], 5);
}

TEST_F(LookingTest, StatsOfTheDaemonAProjectAndARun) {
  Push("stats", 1);
  EXPECT_GE(Ctl({"stats", "--json"}).Json()["runs"], 1);
  EXPECT_EQ(Ctl({"stats", "stats", "--json"}).Json()["checkpoints"], 1);
  EXPECT_THAT(Ctl({"stats", "--project", "default"}), ExitsWith(0));
  EXPECT_THAT(Ctl({"stats"}).out, HasSubstr("On disk:"));
}

TEST_F(LookingTest, WatchShowsCommitsAsTheyCome) {
  Push("watched", 1);
  Process watch(
      {kCkptctl, "watch", "watched", "--interval", "20ms", "--address", daemon_->address()},
      Path("watch.out"));
  ASSERT_TRUE(watch.WaitForOutput("step 1"));
  Push("watched", 2);
  EXPECT_TRUE(watch.WaitForOutput("step 2"));
  EXPECT_EQ(watch.KillAndWait(SIGINT), (Ended{.code = 0, .signal = 0}));
}

TEST_F(LookingTest, HelpAndVersionNeedNoDaemon) {
  const std::string nowhere = "unix:/nonexistent/ckptd.sock";
  const Outcome help = Ctl({"--help"}, nowhere);
  EXPECT_THAT(help, ExitsWith(0));
  for (const char* part : {"RUN@SELECTOR", "fetch", "Exit codes:"}) {
    EXPECT_THAT(help.out, HasSubstr(part));
  }
  EXPECT_THAT(help.out, Not(HasSubstr("__complete")));
  EXPECT_THAT(Ctl({"policy", "set", "--help"}, nowhere).out, HasSubstr("--keep-best"));
  EXPECT_THAT(Ctl({"version", "--client"}, nowhere).out, StartsWith("ckptctl "));
  const Outcome version = Ctl({"version", "--wait", "0"}, nowhere);
  EXPECT_THAT(version, ExitsWith(4));
  EXPECT_THAT(version.out, StartsWith("ckptctl ")) << "its own is said all the same";
  EXPECT_THAT(Ctl({"version"}).out, HasSubstr("ckptd "));
}

TEST_F(LookingTest, HealthIsAnExitCodeAndSaysWhyNot) {
  const Outcome well = Ctl({"health"});
  EXPECT_THAT(well, ExitsWith(0));
  EXPECT_EQ(well.out, "ready\n");
  EXPECT_EQ(
      Ctl({"health", "--json"}).Json(),
      nlohmann::json::parse(R"({"ready": true, "live": true, "draining": false, "problems": []})"));

  // No disk has as much free.
  Daemon full(kCkptd, Path("full"), {"--keep-free", "900000TiB"});
  ASSERT_TRUE(full.Start());
  const Outcome unwell = Ctl({"health"}, full.address());
  EXPECT_THAT(unwell, ExitsWith(1));
  EXPECT_THAT(unwell.out, StartsWith("not ready\n  "));
  EXPECT_THAT(unwell.out, HasSubstr("(keep-free)"));
  const Outcome json = Ctl({"health", "--json"}, full.address());
  EXPECT_THAT(json, ExitsWith(1));
  EXPECT_EQ(json.Json()["ready"], false);
  EXPECT_EQ(json.Json()["live"], true);
  EXPECT_EQ(json.Json()["problems"].size(), 1u);

  full.Stop();
  const Outcome gone = Ctl({"health"}, full.address());
  EXPECT_THAT(gone, ExitsWith(4));
  EXPECT_THAT(gone.err, OneSentence());

  // A daemon that is about to come is waited for.
  Daemon coming(kCkptd, Path("coming"));
  Process waiting({kCkptctl, "health", "--wait", "60s", "--address", coming.address()},
                  Path("waiting.out"));
  ASSERT_TRUE(coming.Start());
  EXPECT_EQ(waiting.Wait(), (Ended{.code = 0, .signal = 0}));
}

TEST_F(LookingTest, TheShellCompletesRunsAndSelectors) {
  Push("complete-me", 12);
  ASSERT_THAT(Ctl({"alias", "set", "complete-me@12", "release"}), ExitsWith(0));
  EXPECT_EQ(Ctl({"__complete", "--", "list", "complete-"}).out, "complete-me\n");
  EXPECT_EQ(Ctl({"__complete", "--", "fetch", "complete-"}).out, "complete-me@\n");
  EXPECT_EQ(Ctl({"__complete", "--", "fetch", "complete-me@"}).out,
            "complete-me@12\ncomplete-me@best\ncomplete-me@latest\ncomplete-me@release\n");
  EXPECT_THAT(Ctl({"completion", "zsh"}).out, StartsWith("#compdef ckptctl"));

  // In a real bash, as the key would call it.
  const std::string script = fmt::format(
      "source <('{0}' completion bash); COMP_WORDBREAKS=$' \\t\\n\"\\'@><=;|&(:'; "
      "COMP_LINE='{0} fetch complete-me@r'; COMP_POINT=${{#COMP_LINE}}; _ckptctl; "
      "printf '%s' \"${{COMPREPLY[*]}}\"",
      kCkptctl);
  Process bash({"/bin/bash", "-c", script}, Path("bash.out"),
               {{"CKPTD_ADDRESS", daemon_->address()}});
  EXPECT_EQ(bash.Wait(), (Ended{.code = 0, .signal = 0}));
  EXPECT_EQ(ReadFile(Path("bash.out")), "release");
}

TEST_F(LookingTest, TheAddressComesFromTheFlagOverTheEnvironment) {
  EXPECT_THAT(Ctl({"runs", "--address", daemon_->address()}, "unix:/nonexistent"), ExitsWith(0));
  EXPECT_THAT(Ctl({"--address", daemon_->address(), "runs"}, "unix:/nonexistent"), ExitsWith(0));
}

}  // namespace
}  // namespace ckpt::test
