// Real processes: a trainer that is killed at a random moment and started
// again ends bit for bit where one ends that was left alone.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/process.h"
#include "tests/testing/programs.h"
#include "tests/testing/temp_dir.h"

namespace ckpt::test {
namespace {

using testing::HasSubstr;

constexpr int kHalf = 150;  // steps

// One daemon and directory for all cases; each uses runs of its own.
class TrainerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<ckptd::os::TempDir>();
    daemon_ = std::make_unique<Daemon>(kCkptd, *directory_ / "data");
    ASSERT_TRUE(daemon_->Start());
  }
  static void TearDownTestSuite() {
    daemon_.reset();
    directory_.reset();
  }

  static std::string Path(const std::string& name) { return *directory_ / name; }

  // A trainer of `run`: a model of a few thousand parameters, on one thread.
  static std::unique_ptr<Process> Trainer(const std::string& run,
                                          const std::vector<std::string>& more) {
    std::vector<std::string> command = {TRAINER_BINARY,
                                        "--address",
                                        daemon_->address(),
                                        "--run",
                                        run,
                                        "--cpu",
                                        "--threads",
                                        "1",
                                        "--layers",
                                        "1",
                                        "--heads",
                                        "2",
                                        "--width",
                                        "16",
                                        "--context",
                                        "16",
                                        "--batch",
                                        "4",
                                        "--eval-every",
                                        "10",
                                        "--eval-batches",
                                        "1",
                                        "--save-every",
                                        "7",
                                        "--steps",
                                        std::to_string(2 * kHalf),
                                        "--log",
                                        Path(run + ".jsonl"),
                                        "--final-state",
                                        Path(run + ".json")};
    command.insert(command.end(), more.begin(), more.end());
    return std::make_unique<Process>(command, Path(run + ".out"));
  }

  static std::string Log(const std::string& run) { return ReadFile(Path(run + ".jsonl")); }
  static std::string FinalState(const std::string& run) { return ReadFile(Path(run + ".json")); }
  static std::string Output(const std::string& run) { return ReadFile(Path(run + ".out")); }
  static bool WaitForSteps(const std::string& run, Process& process, int64_t steps) {
    return WaitUntil([&] {
      const std::string log = Log(run);
      return std::count(log.begin(), log.end(), '\n') >= steps || process.Ended();
    });
  }

  static std::unique_ptr<ckptd::os::TempDir> directory_;
  static std::unique_ptr<Daemon> daemon_;
};
std::unique_ptr<ckptd::os::TempDir> TrainerTest::directory_;
std::unique_ptr<Daemon> TrainerTest::daemon_;

// ---- Bit-exact resume ---------------------------------------------------------

struct Case {
  const char* name;
  const char* optimizer;
  const char* schedule;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class ResumeTest : public TrainerTest, public testing::WithParamInterface<Case> {
 protected:
  std::vector<std::string> Flags() const {
    return {"--optimizer", GetParam().optimizer, "--schedule", GetParam().schedule, "--lr-step",
            "40",          "--patience",         "1"};
  }
};

TEST_P(ResumeTest, EndsBitForBitAsIfNeverKilled) {
  const std::string whole = std::string("whole-") + GetParam().name;
  const std::string killed = std::string("killed-") + GetParam().name;
  ASSERT_EQ(Trainer(whole, Flags())->Wait(), Ended{.code = 0}) << Output(whole);

  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "random seed " << seed);
  std::mt19937 random(seed);
  for (int kill = 1; kill <= 2; ++kill) {
    auto trainer = Trainer(killed, Flags());
    if (kill == 2) {
      ASSERT_TRUE(trainer->WaitForOutput("resumed at step")) << Output(killed);
    }
    ASSERT_TRUE(WaitForSteps(killed, *trainer, kHalf + static_cast<int>(random() % (kHalf / 2))));
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20000));
    ASSERT_EQ(trainer->KillAndWait(SIGKILL), Ended{.signal = SIGKILL}) << Output(killed);
  }
  ASSERT_EQ(Trainer(killed, Flags())->Wait(), Ended{.code = 0}) << Output(killed);

  EXPECT_THAT(Output(killed), HasSubstr("resumed at step"));
  EXPECT_EQ(Log(killed), Log(whole));
  EXPECT_EQ(FinalState(killed), FinalState(whole));
  EXPECT_THAT(FinalState(whole), HasSubstr("optimizer/state/0/"));
}

INSTANTIATE_TEST_SUITE_P(
    Trainer, ResumeTest,
    testing::Values(Case{"SgdStep", "sgd", "step"}, Case{"SgdPlateau", "sgd", "plateau"},
                    Case{"AdamStep", "adam", "step"}, Case{"AdamPlateau", "adam", "plateau"},
                    Case{"AdamwStep", "adamw", "step"}, Case{"AdamwPlateau", "adamw", "plateau"},
                    Case{"AdamwCosine", "adamw", "cosine"}),
    [](const auto& info) { return std::string(info.param.name); });

// ---- Ways to end and to begin ---------------------------------------------------

TEST_F(TrainerTest, SavesOnSigtermAndGoesOnFromThatStep) {
  ASSERT_EQ(Trainer("calm", {})->Wait(), Ended{.code = 0}) << Output("calm");

  auto trainer = Trainer("stopped", {});
  ASSERT_TRUE(WaitForSteps("stopped", *trainer, kHalf));
  EXPECT_EQ(trainer->KillAndWait(SIGTERM), Ended{.code = 0}) << Output("stopped");
  const std::string log = Log("stopped");
  const auto steps = std::count(log.begin(), log.end(), '\n');
  ASSERT_EQ(Trainer("stopped", {"--require-resume"})->Wait(), Ended{.code = 0});

  EXPECT_THAT(Output("stopped"), HasSubstr("resumed at step " + std::to_string(steps)));
  EXPECT_EQ(Log("stopped"), Log("calm"));
  EXPECT_EQ(FinalState("stopped"), FinalState("calm"));
}

// A save under way must not cost the one that training ends with.
TEST_F(TrainerTest, SavesOnSigtermWhereASaveIsUnderWayAndOthersAreSkipped) {
  auto trainer = Trainer("busy", {"--on-busy", "skip", "--steps", "1000000"});
  ASSERT_TRUE(WaitForSteps("busy", *trainer, 20));
  ASSERT_EQ(kill(daemon_->process().pid(), SIGSTOP), 0);
  EXPECT_TRUE(trainer->WaitForOutput("not saved: the save before is still under way"));
  ASSERT_EQ(kill(trainer->pid(), SIGTERM), 0);
  EXPECT_TRUE(trainer->WaitForOutput("stopping at step"));
  ASSERT_EQ(kill(daemon_->process().pid(), SIGCONT), 0);
  ASSERT_EQ(trainer->Wait(), Ended{.code = 0}) << Output("busy");
  const std::string log = Log("busy");
  const auto steps = std::count(log.begin(), log.end(), '\n');
  EXPECT_THAT(Output("busy"), HasSubstr("saved step " + std::to_string(steps) + ":"));
}

// The token that the README makes for a worker opens one project, not the daemon.
TEST_F(TrainerTest, TrainsWithATokenOfItsProject) {
  Daemon guarded(kCkptd, Path("guarded"), {"--auth", "tokens"});
  Process maker({kCkptd, "--data-dir", guarded.data_dir(), "--create-admin-token", Path("admin")},
                Path("maker.out"));
  ASSERT_EQ(maker.Wait(), Ended{.code = 0}) << maker.Output();
  ASSERT_TRUE(guarded.Start());
  Process made({kCkptctl, "token", "create", "gpu-1", "--role", "write", "--project", "vision",
                "--address", guarded.address(), "--token-file", Path("admin")},
               Path("worker"));
  ASSERT_EQ(made.Wait(), Ended{.code = 0}) << made.Output();
  const std::string token = made.Output().substr(made.Output().find("ckpt_"), 86);
  std::ofstream(Path("token")) << token << "\n";

  Process trainer({TRAINER_BINARY, "--address", guarded.address(), "--run", "vision/gpt", "--cpu",
                   "--threads", "1", "--layers", "1", "--heads", "2", "--width", "16", "--context",
                   "16", "--steps", "5"},
                  Path("vision.out"), {{"CKPTD_TOKEN_FILE", Path("token")}});
  EXPECT_EQ(trainer.Wait(), Ended{.code = 0}) << trainer.Output();
  EXPECT_THAT(trainer.Output(), HasSubstr("saved step 5:"));
}

TEST_F(TrainerTest, RidesOutADaemonThatIsKilled) {
  ASSERT_EQ(Trainer("untroubled", {})->Wait(), Ended{.code = 0}) << Output("untroubled");

  auto trainer = Trainer("troubled", {});
  ASSERT_TRUE(WaitForSteps("troubled", *trainer, kHalf / 2));
  daemon_->Stop(SIGKILL);
  ASSERT_TRUE(daemon_->Start());
  EXPECT_EQ(trainer->Wait(), Ended{.code = 0}) << Output("troubled");

  EXPECT_EQ(FinalState("troubled"), FinalState("untroubled"));
}

TEST_F(TrainerTest, AnOlderAttemptStopsOnceItIsFenced) {
  auto zombie = Trainer("fenced", {"--steps", "1000000"});
  ASSERT_TRUE(WaitForSteps("fenced", *zombie, 20));
  auto heir = Trainer("fenced", {"--log", Path("heir.jsonl"), "--final-state", ""});
  EXPECT_EQ(zombie->Wait(), Ended{.code = 1});
  EXPECT_EQ(heir->Wait(), Ended{.code = 0}) << Output("fenced");
}

TEST_F(TrainerTest, RequireResumeRefusesToStartFromScratch) {
  EXPECT_EQ(Trainer("unheard-of", {"--require-resume"})->Wait(), Ended{.code = 1});
  EXPECT_EQ(Log("unheard-of"), "");
}

TEST_F(TrainerTest, AnotherModelIsToldWhatDoesNotFit) {
  ASSERT_EQ(Trainer("grown", {"--steps", "10"})->Wait(), Ended{.code = 0}) << Output("grown");
  EXPECT_EQ(Trainer("grown", {"--layers", "2"})->Wait(), Ended{.code = 1});
  EXPECT_THAT(Output("grown"), HasSubstr("Missing key(s) in state_dict: \"blocks.1."));
}

TEST_F(TrainerTest, TheTinyExampleResumes) {
  for (int run = 0; run < 2; ++run) {
    Process tiny({TINY_BINARY}, Path("tiny.out"), {{"CKPTD_ADDRESS", daemon_->address()}});
    ASSERT_EQ(tiny.Wait(), Ended{.code = 0}) << tiny.Output();
  }
  EXPECT_THAT(Output("tiny"), HasSubstr("From epoch 20, loss"));
  EXPECT_THAT(Output("tiny"), HasSubstr("To epoch 40, loss"));
}

}  // namespace
}  // namespace ckpt::test
