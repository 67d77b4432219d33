// Nonsense: each gets one sentence on standard error and its exit status, and
// nothing changes.
#include <filesystem>
#include <fstream>

#include "tests/integration/ckptctl/ckptctl_fixture.h"

namespace ckpt::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

class BadInputTest : public CkptctlTest {};

struct Case {
  std::vector<std::string> args;
  int code;
  std::string message;  // a part of it
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << "ckptctl";
  for (const std::string& arg : c.args)
    *out << ' ' << arg.substr(0, 60) << (arg.size() > 60 ? "..." : "");
}

TEST_F(BadInputTest, GetsOneSentenceAndChangesNothing) {
  Push("steady", 1);
  Push("steady", 2);
  const std::string long_name(10'000, 'x');
  const std::string good = MakeFile("good.safetensors", 1);
  const std::string control = "a\x1b[2J\nb";
  std::vector<Case> cases = {
      // Unknown things.
      {{"list", "nobody"}, 3, "nobody"},
      {{"describe", "nobody"}, 3, "nobody"},
      {{"describe", "steady@99"}, 3, "99"},
      {{"describe", "steady@id:999999"}, 3, "999999"},
      {{"describe", "steady@release"}, 3, "release"},
      {{"describe", "steady@best:accuracy"}, 3, "accuracy"},
      {{"describe", "steady@latest", "--entries", "--rank", "5"}, 3, "5"},
      {{"history", "nobody"}, 3, "nobody"},
      {{"watch", "nobody"}, 3, "nobody"},
      {{"fetch", "nobody@latest", "-o", Path("o")}, 3, "nobody"},
      {{"fetch", "steady@latest", "-o", Path("o"), "--rank", "3"}, 3, "rank 3"},
      {{"fetch", "steady@latest", "-o", Path("o"), "--entries", "nothing*"}, 3, "nothing*"},
      {{"diff", "steady@1", "steady@9"}, 3, "9"},
      {{"verify", "nobody"}, 3, "nobody"},
      {{"stats", "nobody"}, 3, "nobody"},
      {{"prune", "nobody", "--yes"}, 3, "nobody"},
      {{"delete", "steady@9", "--yes"}, 3, "9"},
      {{"delete", "steady@1", "steady@9", "--yes"}, 3, "9"},
      {{"delete", "--run", "nobody", "--yes"}, 3, "nobody"},
      {{"restore", "steady@9"}, 3, "9"},
      {{"rewind", "steady@9"}, 3, "9"},
      {{"pin", "steady@9"}, 3, "9"},
      {{"unpin", "steady@1"}, 3, "no pin"},
      {{"unpin", "steady@1", "release"}, 3, "release"},
      {{"alias", "set", "steady@9", "release"}, 3, "9"},
      {{"alias", "delete", "steady", "release"}, 3, "release"},
      {{"policy", "get", "nobody"}, 3, "nobody"},
      {{"policy", "set", "nobody", "--keep-last", "2"}, 3, "nobody"},
      // Malformed names.
      {{"list", ""}, 2, "empty"},
      {{"list", "../x"}, 2, ".."},
      {{"list", "a/b/c"}, 2, "b/c"},
      {{"list", long_name}, 2, "10000 bytes"},
      {{"list", control}, 2, "\\x1b"},
      {{"push", good, "../x", "--step", "1"}, 2, ".."},
      {{"push", good, control, "--step", "1"}, 2, "\\x1b"},
      {{"delete", "--run", "../x", "--yes"}, 2, ".."},
      {{"pin", "steady@1", "../x"}, 2, "../x"},
      {{"alias", "set", "steady@1", "latest"}, 2, "latest"},
      {{"alias", "set", "steady@1", "17"}, 2, "17"},
      {{"describe", "steady@"}, 2, "selector"},
      {{"describe", "steady@step:x"}, 2, "step"},
      {{"describe", "steady@-1"}, 2, "-1"},
      {{"describe", "steady@99999999999999999999"}, 2, "99999999999999999999"},
      {{"runs", "--project", "../x"}, 2, ".."},
      // A run where a checkpoint is wanted, and the other way round.
      {{"fetch", "steady", "-o", Path("o")}, 2, "steady@latest"},
      {{"list", "steady@1"}, 2, "a run is wanted"},
      {{"delete", "steady", "--yes"}, 2, "--run steady"},
      {{"delete", "--run", "steady@1", "--yes"}, 2, "a run is wanted"},
      {{"delete", "--yes"}, 2, "name what to delete"},
      {{"delete", "steady@1", "--run", "steady", "--yes"}, 2, "not both"},
      {{"delete", "steady@1", "other@1", "--yes"}, 2, "one run at a time"},
      {{"prune", "--yes"}, 2, "--all"},
      {{"prune", "steady", "--all", "--yes"}, 2, "not both"},
      {{"prune", "steady", "--project", "vision", "--yes"}, 2, "PROJECT/RUN"},
      // Values.
      {{"list", "steady", "--limit", "many"}, 2, "many"},
      {{"list", "steady", "--wait", "soon"}, 2, "soon"},
      {{"push", good, "steady", "--step", "-1"}, 2, "-1"},
      {{"push", good, "steady", "--step", "3", "--metric", "loss"}, 2, "NAME=VALUE"},
      {{"push", good, "steady", "--step", "3", "--metric", "loss=low"}, 2, "low"},
      {{"policy", "set", "steady"}, 2, "say what to change"},
      {{"policy", "set", "steady", "--keep-last", "0"}, 2, "--unset"},
      {{"policy", "set", "steady", "--keep-best", "1:val_loss"}, 2, "min"},
      // Files.
      {{"push", Path("absent.safetensors"), "steady", "--step", "3"}, 3, "absent.safetensors"},
      {{"push", directory_->path(), "steady", "--step", "3"}, 5, directory_->path()},
      {{"fetch", "steady@1", "-o", Path("no/such/folder/x.pt")}, 3, "x.pt"},
      {{"fetch", "steady@1", "-o", good}, 6, "--force"},
      {{"fetch", "steady@1", "-o", "/proc/x.pt"}, 3, "/proc/x.pt"},
      {{"backup", Path("no/such/folder/x")}, 3, "x"},
      {{"backup", directory_->path()}, 6, "is a directory"},
      {{"backup", good}, 6, "--force"},
      {{"backup", "-"}, 2, "takes a file"},
      {{"backup", ""}, 2, "takes a file"},
      // States that do not allow it.
      {{"restore", "steady@1"}, 6, "was not removed"},
      {{"delete", "steady@1", "steady@2", "--yes"}, 6, ""},
      {{"delete", "steady@1"}, 6, "--yes"},
      {{"delete", "--run", "steady"}, 6, "--yes"},
      {{"policy", "set", "steady", "--clear", "--keep-last", "1"}, 6, "--yes"},
  };
  const std::string before = Everything();
  const size_t files =
      static_cast<size_t>(std::distance(fs::directory_iterator(directory_->path()), {}));
  size_t ran = 0;
  for (const Case& c : cases) {
    const Outcome outcome = Ctl(c.args);
    ++ran;
    EXPECT_THAT(outcome, ExitsWith(c.code)) << testing::PrintToString(c);
    EXPECT_THAT(outcome.err, OneSentence()) << testing::PrintToString(c);
    EXPECT_THAT(outcome.err, HasSubstr(c.message)) << testing::PrintToString(c);
  }
  EXPECT_EQ(Everything(), before);
  // Nothing is left behind but the commands' own output.
  size_t left = 0;
  for (const auto& item : fs::directory_iterator(directory_->path())) {
    if (item.path().filename().string().find("command-") == std::string::npos) ++left;
    EXPECT_EQ(item.path().string().find(".part"), std::string::npos) << item.path();
  }
  EXPECT_LE(left, files);
}

TEST_F(BadInputTest, ABrokenFileIsRefusedBeforeAnythingIsSent) {
  Push("broken", 1);
  const std::string whole = ReadFile(MakeFile("whole.safetensors", 1));
  const std::pair<std::string, std::string> kFiles[] = {
      {"empty", ""},
      {"short", whole.substr(0, 5)},
      {"cut-header", whole.substr(0, 60)},
      {"cut-data", whole.substr(0, whole.size() - 1)},
      {"longer", whole + "x"},
      {"garbage", std::string(1000, '\xff')},
      {"text", "this is no tensor file at all, but long enough to have a length in front\n"},
  };
  const std::string before = Everything();
  for (const auto& [name, content] : kFiles) {
    SCOPED_TRACE(name);
    const std::string path = Path(name + ".safetensors");
    std::ofstream(path, std::ios::binary) << content;
    const Outcome outcome = Ctl({"push", path, "broken", "--step", "2"});
    EXPECT_THAT(outcome, ExitsWith(5));
    EXPECT_THAT(outcome.err, OneSentence());
  }
  EXPECT_EQ(Everything(), before);
}

TEST_F(BadInputTest, AnUnreachableDaemonIsSaidWithItsAddress) {
  const ReservedPort nobodys;
  const std::string address = nobodys.address();
  const std::vector<std::string> kCommands[] = {
      {"runs"},
      {"list", "x"},
      {"describe", "x@1"},
      {"fetch", "x@1", "-o", Path("o")},
      {"stats"},
      {"prune", "x", "-y"},
      {"watch", "x"},
      {"diff", "x@1", "x@2"},
      {"verify", "x@1"},
      {"policy", "get", "x"},
  };
  for (std::vector<std::string> command : kCommands) {
    command.insert(command.end(), {"--wait", "0"});
    const Outcome outcome = Ctl(command, address);
    EXPECT_THAT(outcome, ExitsWith(4)) << command[0];
    EXPECT_THAT(outcome.err, OneSentence()) << command[0];
    EXPECT_THAT(outcome.err, HasSubstr(address)) << command[0];
  }
  for (const char* nonsense : {"nonsense", ":", "host:99999", "http://x", "unix:"}) {
    const Outcome outcome = Ctl({"runs", "--address", nonsense, "--wait", "0"});
    EXPECT_THAT(outcome, ExitsWith(2)) << nonsense;
    EXPECT_THAT(outcome.err, OneSentence()) << nonsense;
  }
}

}  // namespace
}  // namespace ckpt::test
