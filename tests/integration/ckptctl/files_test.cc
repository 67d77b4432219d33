// Bytes in and out: push, fetch, diff, verify.
#include <cstring>
#include <filesystem>

#include "tests/integration/ckptctl/ckptctl_fixture.h"
#include "tests/testing/programs.h"

namespace ckpt::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

class FilesTest : public CkptctlTest {};

TEST_F(FilesTest, WhatWasPushedIsFetchedInEveryForm) {
  const std::string file = MakeFile("in.safetensors", 7);
  const Outcome push = Ctl({"push", file, "forms", "--step", "10", "--metric", "val_loss=0.5",
                            "--metric", "acc=nan", "--label", "git=abc", "--json"});
  ASSERT_THAT(push, ExitsWith(0));
  EXPECT_EQ(push.Json()["checkpoint"]["metrics"]["acc"], "nan");
  EXPECT_EQ(push.Json()["checkpoint"]["labels"]["git"], "abc");
  EXPECT_TRUE(push.Json()["run_created"].get<bool>());

  for (const char* name : {"out", "out.safetensors", "out.pt"}) {
    const Outcome fetch = Ctl({"fetch", "forms@latest", "-o", Path(name)});
    EXPECT_THAT(fetch, ExitsWith(0)) << name;
    EXPECT_EQ(fetch.err, "") << "no progress bar but on a terminal";
  }
  const std::vector<float> large(300'000, 7);
  const std::string raw = ReadFile(Path("out/large"));
  ASSERT_EQ(raw.size(), large.size() * 4);
  EXPECT_EQ(std::memcmp(raw.data(), large.data(), raw.size()), 0);
  const auto manifest = nlohmann::json::parse(ReadFile(Path("out/manifest.json")));
  EXPECT_EQ(manifest["step"], 10);
  EXPECT_EQ(manifest["entries"].size(), 3u);
  EXPECT_THAT(ReadFile(Path("out.pt")), StartsWith("PK"));

  // And the .safetensors pushed again is the same checkpoint: nothing is sent.
  const Outcome again = Ctl({"push", Path("out.safetensors"), "forms", "--step", "11", "--json"});
  ASSERT_THAT(again, ExitsWith(0));
  EXPECT_EQ(again.Json()["sent_bytes"], 0);
}

TEST_F(FilesTest, OnlyWantedEntriesAreFetched) {
  Push("some", 1);
  ASSERT_THAT(Ctl({"fetch", "some@1", "-o", Path("some"), "--entries", "b*", "--entries", "fixed"}),
              ExitsWith(0));
  EXPECT_TRUE(fs::exists(Path("some/bias")));
  EXPECT_TRUE(fs::exists(Path("some/fixed")));
  EXPECT_FALSE(fs::exists(Path("some/large")));
}

TEST_F(FilesTest, WhatIsThereIsReplacedOnlyWithForce) {
  Push("force", 1);
  for (const char* name : {"force", "force.pt", "force.safetensors"}) {
    SCOPED_TRACE(name);
    ASSERT_THAT(Ctl({"fetch", "force@1", "-o", Path(name)}), ExitsWith(0));
    const auto written = fs::last_write_time(Path(name));
    EXPECT_THAT(Ctl({"fetch", "force@1", "-o", Path(name)}), ExitsWith(6));
    EXPECT_EQ(fs::last_write_time(Path(name)), written);
    EXPECT_THAT(Ctl({"fetch", "force@1", "-o", Path(name), "--force"}), ExitsWith(0));
  }
}

TEST_F(FilesTest, AnInterruptedFetchLeavesAllOrNothing) {
  const std::string file = MakeFile("big.safetensors", 1, 8'000'000);
  ASSERT_THAT(Ctl({"push", file, "big", "--step", "1"}), ExitsWith(0));
  for (int round = 0; round < 6; ++round) {
    const std::string folder = Path(fmt::format("interrupted-{}", round));
    fs::create_directory(folder);
    Process process(
        {kCkptctl, "fetch", "big@1", "-o", folder + "/x.pt", "--address", daemon_->address()},
        Path("interrupted.log"));
    std::this_thread::sleep_for(std::chrono::milliseconds(20 * round));
    process.KillAndWait(SIGINT);
    for (const auto& item : fs::directory_iterator(folder)) {
      EXPECT_EQ(item.path().filename(), "x.pt");
      EXPECT_GT(item.file_size(), 32'000'000u);
    }
  }
}

TEST_F(FilesTest, DiffTellsWhatChangedAndHowFar) {
  Push("diff", 1);
  Push("diff", 3);
  const Outcome diff = Ctl({"diff", "diff@1", "diff@3", "--json", "--exit-code"});
  ASSERT_THAT(diff, ExitsWith(8));
  const auto json = diff.Json();
  EXPECT_EQ(json["unchanged"], 1) << "fixed";
  std::map<std::string, nlohmann::json> changes;
  for (const auto& change : json["changes"]) changes[change["entry"]] = change;
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes["large"]["max_abs"], 2.0);
  EXPECT_EQ(changes["large"]["relative"], 2.0);
  EXPECT_EQ(changes["large"]["elements_changed"], 300'000);
  EXPECT_EQ(changes["bias"]["elements_changed"], 1);
  EXPECT_EQ(changes["bias"]["l2"], 2.0);

  const auto quick = Ctl({"diff", "diff@1", "diff@3", "--quick", "--json"}).Json();
  for (const auto& change : quick["changes"]) {
    EXPECT_EQ(change.contains("l2"), change["entry"] == "bias") << "large ones are not measured";
  }
  const Outcome same = Ctl({"diff", "diff@1", "diff@1", "--exit-code"});
  EXPECT_THAT(same, ExitsWith(0));
  EXPECT_THAT(same.out, HasSubstr("0 changed, 3 the same"));
}

TEST_F(FilesTest, DiffSeesEntriesComeAndGo) {
  ASSERT_THAT(Ctl({"push", MakeFile("a.safetensors", 1, 10), "shape", "--step", "1"}),
              ExitsWith(0));
  ASSERT_THAT(Ctl({"push", MakeFile("b.safetensors", 1, 20), "shape", "--step", "2"}),
              ExitsWith(0));
  Push("other", 1);
  const Outcome shapes = Ctl({"diff", "shape@1", "shape@2"});
  EXPECT_THAT(shapes, ExitsWith(0));
  EXPECT_THAT(shapes.out, HasSubstr("F32 [10] -> F32 [20]"));
  EXPECT_THAT(shapes.out, HasSubstr("0 added, 0 gone, 1 changed, 2 the same"));
  EXPECT_THAT(Ctl({"diff", "shape@1", "other@1"}), ExitsWith(0)) << "of two runs";
}

TEST_F(FilesTest, VerifyReadsEverything) {
  Push("whole", 1);
  const Outcome verify = Ctl({"verify", "whole@1", "--json"});
  ASSERT_THAT(verify, ExitsWith(0));
  EXPECT_TRUE(verify.Json()["whole"].get<bool>());
  EXPECT_GE(verify.Json()["bytes"].get<uint64_t>(), 1'200'000u);
  EXPECT_THAT(Ctl({"verify", "whole"}).out, HasSubstr("every digest right"));
}

}  // namespace
}  // namespace ckpt::test
