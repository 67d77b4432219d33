// What takes away and what keeps: policy, prune, delete, restore, rewind, pins,
// aliases; and who is asked before.
#include "tests/integration/ckptctl/ckptctl_fixture.h"

namespace ckpt::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class KeepingTest : public CkptctlTest {};

TEST_F(KeepingTest, APolicyIsPreviewedThenSet) {
  for (int step : {1, 2, 3}) Push("policy", step, step);
  // Given a dry run, nothing changes.
  const Outcome dry = Ctl({"policy", "set", "policy", "--clear", "--keep-last", "1", "--dry-run"});
  EXPECT_THAT(dry, ExitsWith(0));
  EXPECT_THAT(dry.out, HasSubstr("Would be removed:"));
  EXPECT_THAT(Steps("policy"), ElementsAre(3, 2, 1));
  EXPECT_TRUE(Ctl({"policy", "get", "policy", "--json"}).Json()["is_default"].get<bool>());
  // When it is meant, it does what the dry run said.
  const Outcome set =
      Ctl({"policy", "set", "policy", "--clear", "--keep-last", "1", "-y", "--json"});
  ASSERT_THAT(set, ExitsWith(0));
  EXPECT_EQ(set.Json()["removed"].size(), 2u);
  EXPECT_THAT(Steps("policy"), ElementsAre(3));
  EXPECT_THAT(Ctl({"policy", "get", "policy"}).out, HasSubstr("keep-last"));
  // Loosening asks nobody, and --default goes back.
  EXPECT_THAT(Ctl({"policy", "set", "policy", "--keep-best", "2:val_loss:min"}), ExitsWith(0));
  EXPECT_THAT(Ctl({"policy", "set", "policy", "--default", "-y"}), ExitsWith(0));
  EXPECT_TRUE(Ctl({"policy", "get", "policy", "--json"}).Json()["is_default"].get<bool>());
  EXPECT_THAT(Ctl({"policy", "get", "--default"}), ExitsWith(0));
}

TEST_F(KeepingTest, OnATerminalTheUserIsAskedAndNoMeansNo) {
  for (int step : {1, 2}) Push("asked", step);
  const Outcome no = CtlOnTerminal({"delete", "asked@1"}, "n\n");
  EXPECT_THAT(no, ExitsWith(6));
  EXPECT_THAT(no.out, HasSubstr("Remove 1 checkpoint?"));
  EXPECT_THAT(Steps("asked"), ElementsAre(2, 1));
  const Outcome yes = CtlOnTerminal({"delete", "asked@1"}, "y\n");
  EXPECT_THAT(yes, ExitsWith(0));
  EXPECT_THAT(Steps("asked"), ElementsAre(2));
}

TEST_F(KeepingTest, AWholeRunGoesOnlyWhenItsNameIsTyped) {
  Push("whole-run", 1);
  EXPECT_THAT(CtlOnTerminal({"delete", "--run", "whole-run"}, "y\n"), ExitsWith(6));
  EXPECT_THAT(Ctl({"delete", "--run", "whole-run", "--dry-run"}), ExitsWith(0));
  EXPECT_THAT(Steps("whole-run"), ElementsAre(1));
  EXPECT_THAT(CtlOnTerminal({"delete", "--run", "whole-run"}, "whole-run\n"), ExitsWith(0));
  EXPECT_THAT(Ctl({"list", "whole-run"}), ExitsWith(3));
}

TEST_F(KeepingTest, PinsKeepAndNameTheReason) {
  for (int step : {1, 2, 3}) Push("pins", step, -step);
  ASSERT_THAT(Ctl({"pin", "pins@1", "release"}), ExitsWith(0));
  EXPECT_THAT(Ctl({"pin", "pins@1", "release"}), ExitsWith(0)) << "again";
  EXPECT_THAT(Ctl({"list", "pins"}).out, HasSubstr("pinned: release"));
  ASSERT_THAT(Ctl({"policy", "set", "pins", "--clear", "--keep-last", "1", "-y"}), ExitsWith(0));
  EXPECT_THAT(Steps("pins"), ElementsAre(3, 1));
  EXPECT_THAT(Ctl({"delete", "pins@1", "-y"}), ExitsWith(6)) << "held";
  ASSERT_THAT(Ctl({"unpin", "pins@1"}), ExitsWith(0));
  const Outcome prune = Ctl({"prune", "pins", "--dry-run", "--json"});
  ASSERT_THAT(prune, ExitsWith(0));
  ASSERT_THAT(Ctl({"prune", "pins"}), testing::AnyOf(ExitsWith(6), ExitsWith(0)));
  ASSERT_THAT(Ctl({"prune", "pins", "-y"}), ExitsWith(0));
  EXPECT_THAT(Steps("pins"), ElementsAre(3));
  const Outcome history = Ctl({"history", "pins"});
  EXPECT_THAT(history.out, HasSubstr("removed"));
  EXPECT_THAT(history.out, HasSubstr("unpinned"));
  EXPECT_THAT(Ctl({"list", "pins", "-a"}).out, HasSubstr("removed: "));
}

TEST_F(KeepingTest, OfSeveralPinsOneIsNamed) {
  Push("two-pins", 1);
  ASSERT_THAT(Ctl({"pin", "two-pins@1", "a"}), ExitsWith(0));
  ASSERT_THAT(Ctl({"pin", "two-pins@1", "b"}), ExitsWith(0));
  const Outcome which = Ctl({"unpin", "two-pins@1"});
  EXPECT_THAT(which, ExitsWith(6));
  EXPECT_THAT(which.err, HasSubstr("a, b"));
  EXPECT_THAT(Ctl({"unpin", "two-pins@1", "a"}), ExitsWith(0));
}

TEST_F(KeepingTest, AnAliasNamesACheckpointAndMoves) {
  for (int step : {1, 2}) Push("aliases", step);
  ASSERT_THAT(Ctl({"alias", "set", "aliases@1", "release"}), ExitsWith(0));
  EXPECT_EQ(Ctl({"describe", "aliases@release", "--json"}).Json()["step"], 1);
  ASSERT_THAT(Ctl({"alias", "set", "aliases@2", "release"}), ExitsWith(0));
  EXPECT_EQ(Ctl({"describe", "aliases@release", "--json"}).Json()["step"], 2);
  const auto list = Ctl({"alias", "list", "aliases", "--json"}).Json()["aliases"];
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0]["alias"], "release");
  ASSERT_THAT(Ctl({"alias", "delete", "aliases", "release"}), ExitsWith(0));
  EXPECT_THAT(Ctl({"describe", "aliases@release"}), ExitsWith(3));
  EXPECT_THAT(Ctl({"alias", "list", "aliases"}).out, HasSubstr("No aliases."));
}

TEST_F(KeepingTest, ARemovedCheckpointCanBeBroughtBack) {
  for (int step : {1, 2}) Push("restore", step);
  ASSERT_THAT(Ctl({"policy", "set", "restore", "--restore-grace", "1h"}), ExitsWith(0));
  ASSERT_THAT(Ctl({"delete", "restore@1", "-y"}), ExitsWith(0));
  EXPECT_THAT(Steps("restore"), ElementsAre(2));
  EXPECT_THAT(Ctl({"describe", "restore@1"}).out, HasSubstr("Can be restored"));
  ASSERT_THAT(Ctl({"restore", "restore@1"}), ExitsWith(0));
  EXPECT_THAT(Steps("restore"), testing::UnorderedElementsAre(1, 2));
  EXPECT_THAT(Ctl({"verify", "restore@1"}), ExitsWith(0));
}

TEST_F(KeepingTest, RewindMakesAnOlderOneTheLatest) {
  for (int step : {1, 2}) Push("rewind", step);
  const Outcome rewind = Ctl({"rewind", "rewind@1"});
  ASSERT_THAT(rewind, ExitsWith(0));
  EXPECT_THAT(rewind.out, HasSubstr("resumes from step 1 next"));
  EXPECT_EQ(Ctl({"describe", "rewind@latest", "--json"}).Json()["step"], 1);
  EXPECT_THAT(Steps("rewind"), testing::UnorderedElementsAre(1, 2)) << "nothing was removed";
  EXPECT_THAT(Ctl({"describe", "rewind"}).out, HasSubstr("TIMELINE"));
}

TEST_F(KeepingTest, ABudgetIsPreviewedThenSet) {
  for (int step : {1, 2, 3}) Push("budgeted/a", step, step);
  const Outcome none = Ctl({"budget", "get", "--project", "budgeted"});
  ASSERT_THAT(none, ExitsWith(0));
  EXPECT_THAT(none.out, HasSubstr("none (the daemon's default)"));
  // Room for the newest alone, however small the others are laid meanwhile.
  const std::string less = "1300KB";
  const Outcome dry = Ctl({"budget", "set", less, "--project", "budgeted", "--dry-run"});
  ASSERT_THAT(dry, ExitsWith(0));
  EXPECT_THAT(dry.out, HasSubstr("past the project's budget"));
  EXPECT_THAT(dry.out, HasSubstr("this was a dry run"));
  EXPECT_THAT(Steps("budgeted/a"), ElementsAre(3, 2, 1));
  EXPECT_THAT(CtlOnTerminal({"budget", "set", less, "--project", "budgeted"}, "n\n"), ExitsWith(6));
  const Outcome set = Ctl({"budget", "set", less, "--project", "budgeted", "-y", "--json"});
  ASSERT_THAT(set, ExitsWith(0));
  EXPECT_EQ(set.Json()["removed"][0]["reasons"][0]["rule"], "budget");
  EXPECT_THAT(Steps("budgeted/a"), ElementsAre(3));
  EXPECT_THAT(Ctl({"history", "budgeted/a"}).out, HasSubstr("past the project's budget"));
  EXPECT_THAT(Ctl({"budget", "set", "none", "--project", "budgeted"}), ExitsWith(0));
  EXPECT_THAT(Ctl({"budget", "set", "--default", "--project", "budgeted"}), ExitsWith(0));
  for (const std::vector<std::string>& bad :
       std::vector<std::vector<std::string>>{{"budget", "set"},
                                             {"budget", "set", "0"},
                                             {"budget", "set", "much"},
                                             {"budget", "set", "1GiB", "--default"},
                                             {"budget", "get", "--project", "../x"}}) {
    EXPECT_THAT(Ctl(bad), ExitsWith(2));
  }
  EXPECT_THAT(Ctl({"budget", "get", "--project", "nobodys"}), ExitsWith(3));
}

TEST_F(KeepingTest, PruneOfAllRunsIsSaidExplicitly) {
  Push("all", 1);
  const Outcome all = Ctl({"prune", "--all", "--dry-run", "--json"});
  ASSERT_THAT(all, ExitsWith(0));
  EXPECT_GE(all.Json()["results"].size(), 1u);
  EXPECT_THAT(Ctl({"prune", "all", "--dry-run"}).out, HasSubstr("nothing would go"));
}

}  // namespace
}  // namespace ckpt::test
