// The catalog is saved while the daemon runs, and made again from that once it and
// its journal are gone.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/integration/ckptctl/ckptctl_fixture.h"
#include "tests/integration/daemon/mounts.h"
#include "tests/testing/programs.h"
#include "tests/testing/proxy.h"

namespace ckpt::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class BackupTest : public CkptctlTest {
 protected:
  // Of this case alone.
  std::string File(const std::string& name) { return own_ / name; }
  static std::vector<std::string> Names(const std::string& folder) {
    std::vector<std::string> names;
    for (const auto& item : fs::directory_iterator(folder)) names.push_back(item.path().filename());
    return names;
  }
  // "step id pins" of each checkpoint of the run, newest first.
  static std::vector<std::string> Rows(const std::string& run, const std::string& address) {
    std::vector<std::string> rows;
    const auto list = Ctl({"list", run, "--json"}, address).Json();
    for (const auto& c : list["checkpoints"]) {
      rows.push_back(fmt::format("{} {} {}", c["step"].dump(), c["id"].dump(), c["pins"].dump()));
    }
    return rows;
  }

  ckptd::os::TempDir own_;
};

TEST_F(BackupTest, WhatWasAcknowledgedBeforeItComesBackFromItAndThePacks) {
  // Encoding moves what it is about.
  Daemon daemon(kCkptd, File("data"), {"--compress", "off"});
  ASSERT_TRUE(daemon.Start());
  const auto ctl = [&](const std::vector<std::string>& args) {
    return Ctl(args, daemon.address());
  };
  const auto push = [&](const std::string& run, int step, float value) {
    const std::string file = MakeFile(fmt::format("{}-{}.safetensors", run, step), value);
    ASSERT_THAT(ctl({"push", file, run, "--step", std::to_string(step)}), ExitsWith(0));
  };
  for (const int step : {1, 2, 3}) push("steady", step, static_cast<float>(step));
  ASSERT_THAT(ctl({"pin", "steady@2", "release"}), ExitsWith(0));
  push("busy", 1, 100);
  ASSERT_THAT(ctl({"policy", "set", "busy", "--clear", "--yes"}), ExitsWith(0));

  // A job that saves all the time, other bytes each time.
  constexpr int kMostSaves = 1000;
  for (int step = 2; step <= kMostSaves; ++step) {
    fs::rename(MakeFile("state", static_cast<float>(100 + step), 500),
               File(fmt::format("{}.safetensors", step)));
  }
  Process job({"/bin/sh", "-c",
               "cd \"$1\"; n=2; while [ ! -e stop ]; do \"$0\" push $n.safetensors busy --step $n "
               "|| exit 1; n=$((n+1)); done",
               kCkptctl, own_.path()},
              File("job.log"), {{"CKPTD_ADDRESS", daemon.address()}});
  const auto saved = [&] { return Rows("busy", daemon.address()).size(); };
  ASSERT_TRUE(WaitUntil([&] { return saved() >= 3; })) << job.Output();
  const auto steady = Rows("steady", daemon.address()), busy = Rows("busy", daemon.address());
  const std::string backup = File("catalog");
  const Outcome made = ctl({"backup", backup, "--json"});
  ASSERT_THAT(made, ExitsWith(0));
  const auto said = made.Json();
  EXPECT_EQ(said["file"], backup);
  EXPECT_EQ(said["bytes"], fs::file_size(backup));
  EXPECT_GT(said["transaction"], 4);
  EXPECT_EQ(said["digest"].get<std::string>().size(), 64u);
  EXPECT_THAT(said["taken_at"].get<std::string>(), StartsWith("20"));
  const size_t then = saved();
  ASSERT_TRUE(WaitUntil([&] { return saved() >= then + 2; })) << job.Output();
  std::ofstream(File("stop")) << "now";
  ASSERT_EQ(job.Wait(), (Ended{.code = 0})) << job.Output();
  push("late", 1, 77);

  daemon.Stop(SIGKILL);
  for (const char* suffix : {"", "-wal", "-shm"}) {
    fs::remove(daemon.data_dir() + "/catalog.sqlite" + suffix);
  }
  fs::remove_all(daemon.data_dir() + "/packs/journal");
  ASSERT_FALSE(daemon.Start());  // as its supervisor would
  EXPECT_THAT(daemon.process().Output(), HasSubstr("catalog.sqlite is missing"));
  Process rebuild({kCkptd, "--data-dir", daemon.data_dir(), "--rebuild-catalog", "--from", backup},
                  File("rebuild.log"));
  ASSERT_EQ(rebuild.Wait(), (Ended{.code = 0})) << rebuild.Output();
  EXPECT_THAT(rebuild.Output(), AllOf(HasSubstr("are lost"), HasSubstr("/packs/aside-")));

  ASSERT_TRUE(daemon.Start());
  EXPECT_EQ(Rows("steady", daemon.address()), steady);
  const auto now = Rows("busy", daemon.address());
  for (const std::string& row : busy) EXPECT_THAT(now, testing::Contains(row));
  EXPECT_THAT(ctl({"list", "late"}), ExitsWith(3));
  EXPECT_THAT(ctl({"verify", "--all"}), ExitsWith(0));
  EXPECT_EQ(ctl({"describe", "steady@latest", "--json"}).Json()["step"], 3);
  for (const int step : {1, 2, 3}) {
    const std::string out = File(fmt::format("out-{}", step));
    ASSERT_THAT(ctl({"fetch", fmt::format("steady@{}", step), "-o", out}), ExitsWith(0));
    const std::vector<float> large(300'000, static_cast<float>(step));
    EXPECT_TRUE(ReadFile(out + "/large") ==
                std::string(reinterpret_cast<const char*>(large.data()), large.size() * 4));
  }
  // And it goes on, with the bytes that were lost too.
  push("steady", 4, 4);
  push("late", 1, 77);
  EXPECT_THAT(ctl({"verify", "--all"}), ExitsWith(0));
}

TEST_F(BackupTest, SaysWhatWasSavedAndHowToRestoreItInOneLine) {
  Push("said", 1);
  const std::string file = File("it's a backup");
  const Outcome made = Ctl({"backup", file});
  ASSERT_THAT(made, ExitsWith(0));
  EXPECT_THAT(made.out,
              AllOf(StartsWith("Saved the catalog as of 20"), HasSubstr("transaction "),
                    HasSubstr("KiB) to " + file),
                    HasSubstr("--rebuild-catalog --from '" + File("it'\\''s a backup'"))));
  EXPECT_EQ(std::count(made.out.begin(), made.out.end(), '\n'), 1);
  EXPECT_EQ(made.err, "");
  // It has what only the daemon's owner may know.
  struct stat info = {};
  ASSERT_EQ(stat(file.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  // Nothing is replaced unasked.
  const std::string before = ReadFile(file);
  const Outcome refused = Ctl({"backup", file});
  EXPECT_THAT(refused, ExitsWith(6));
  EXPECT_THAT(refused.err, AllOf(OneSentence(), HasSubstr("--force")));
  EXPECT_EQ(ReadFile(file), before);
  Push("said", 2);
  EXPECT_THAT(Ctl({"backup", file, "--force"}), ExitsWith(0));
  EXPECT_NE(ReadFile(file), before);
  EXPECT_EQ(Names(own_.path()).size(), 1u);
}

TEST_F(BackupTest, TakesATokenOfTheDaemonsOwner) {
  Daemon guarded(kCkptd, File("data"), {"--auth", "tokens"});
  Process maker({kCkptd, "--data-dir", guarded.data_dir(), "--create-admin-token", File("admin")},
                File("maker.log"));
  ASSERT_EQ(maker.Wait(), (Ended{.code = 0})) << maker.Output();
  ASSERT_TRUE(guarded.Start());
  const auto as = [&](const std::string& who, std::vector<std::string> args) {
    args.insert(args.end(), {"--token-file", File(who)});
    return Ctl(args, guarded.address());
  };
  for (const auto& [who, flags] : std::map<std::string, std::vector<std::string>>{
           {"reader", {"--role", "read", "--all-projects"}},
           {"writer", {"--role", "write", "--all-projects"}},
           {"lead", {"--role", "admin", "--project", "vision"}}}) {
    std::vector<std::string> args = {"token", "create", who};
    args.insert(args.end(), flags.begin(), flags.end());
    std::ofstream(File(who)) << as("admin", args).out;
    fs::create_directory(File("to"));
    const Outcome refused = as(who, {"backup", File("to/catalog")});
    EXPECT_THAT(refused, ExitsWith(6));
    EXPECT_THAT(refused.err, AllOf(OneSentence(), HasSubstr("BackUpCatalog takes a token")));
    EXPECT_THAT(Names(File("to")), IsEmpty());
  }
  EXPECT_THAT(as("admin", {"backup", File("to/catalog")}), ExitsWith(0));
  EXPECT_THAT(ReadFile(guarded.data_dir() + "/audit.log"), HasSubstr("BackUpCatalog"));
}

TEST_F(BackupTest, CutInTheMiddleItIsBegunAnewAndInterruptedItLeavesNothing) {
  Push("cut", 1);
  Proxy proxy(std::stoi(daemon_->address().substr(daemon_->address().rfind(':') + 1)));
  fs::create_directory(File("to"));
  std::atomic<int> cuts = 1;
  proxy.SetFaults(
      [&]() -> LineFault {
        if (cuts-- <= 0) return {};
        return {.kind = LineFault::Kind::kCut, .after = 6000};
      },
      [] {});
  EXPECT_THAT(Ctl({"backup", File("to/catalog")}, proxy.address()), ExitsWith(0));
  EXPECT_EQ(proxy.faults(), 1u);
  EXPECT_THAT(Ctl({"backup", File("to/other")}), ExitsWith(0));
  EXPECT_EQ(fs::file_size(File("to/catalog")), fs::file_size(File("to/other")));

  fs::remove_all(File("to"));
  fs::create_directory(File("to"));
  cuts = 1'000'000;
  Process backup({kCkptctl, "backup", File("to/catalog"), "--address", proxy.address()},
                 File("cut.log"));
  ASSERT_TRUE(WaitUntil([&] { return proxy.faults() >= 3; }));
  EXPECT_EQ(backup.KillAndWait(SIGINT), (Ended{.code = 130})) << backup.Output();
  EXPECT_THAT(Names(File("to")), IsEmpty());
  EXPECT_THAT(backup.Output(), OneSentence());
}

TEST_F(BackupTest, ADiskThatIsFullOrReadOnlyIsSaidInOneSentence) {
  Push("disk", 1);
  Tmpfs disk(File("disk"), 8192);
  CKPT_NEEDS_MOUNT(disk);
  const Outcome full = Ctl({"backup", File("disk/catalog")});
  EXPECT_THAT(full, ExitsWith(7));
  EXPECT_THAT(full.err, AllOf(OneSentence(), HasSubstr("disk/catalog': No space left on device")));
  EXPECT_THAT(Names(File("disk")), IsEmpty());
  ASSERT_TRUE(disk.MakeReadOnly());
  const Outcome read_only = Ctl({"backup", File("disk/catalog")});
  EXPECT_THAT(read_only, ExitsWith(6));
  EXPECT_THAT(read_only.err, AllOf(OneSentence(), HasSubstr("cannot create")));
}

}  // namespace
}  // namespace ckpt::test
