// A byte on the disk changes while the daemon runs: it is found, told, gone
// around, and healed by the next push of the same bytes.
#include <filesystem>
#include <fstream>
#include <set>

#include "client/client.h"
#include "tests/integration/ckptctl/ckptctl_fixture.h"

namespace ckpt::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class ScrubTest : public CkptctlTest {
 protected:
  static std::set<std::string> Packs() {
    std::set<std::string> packs;
    for (const auto& file :
         std::filesystem::recursive_directory_iterator(daemon_->data_dir() + "/packs")) {
      if (file.is_regular_file()) packs.insert(file.path());
    }
    return packs;
  }
  // Pushes run@step; the pack that was written for it.
  static std::string PushInto(const std::string& run, int step) {
    const std::set<std::string> before = Packs();
    Push(run, step);
    for (const std::string& pack : Packs()) {
      if (!before.contains(pack)) return pack;
    }
    ADD_FAILURE() << "no pack was written";
    return "";
  }
  static void Flip(const std::string& path, int64_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const char byte = static_cast<char>(file.get() ^ 0x01);
    file.seekp(at);
    file.put(byte);
    ASSERT_TRUE(file.flush().good());
  }
  // Within the bytes of the pack's first chunk.
  static constexpr int64_t kInFirstChunk = 4096 + 64 + 7;
};

TEST_F(ScrubTest, ADamagedByteIsFoundToldGoneAroundAndHealed) {
  const Outcome clean = Ctl({"scrub", "start", "--follow"});
  ASSERT_THAT(clean, ExitsWith(0));
  EXPECT_THAT(clean.out, HasSubstr("nothing wrong"));
  PushInto("hurt", 100);
  const std::string pack = PushInto("hurt", 200);
  Flip(pack, kInFirstChunk);

  const Outcome found = Ctl({"scrub", "start", "--follow"});
  ASSERT_THAT(found, ExitsWith(5));
  EXPECT_THAT(found.out, HasSubstr("1 chunk damaged"));
  EXPECT_THAT(found.err, OneSentence());
  EXPECT_THAT(Ctl({"list", "hurt"}).out,
              AllOf(HasSubstr("DAMAGED: chunk"), HasSubstr("its bytes have another digest")));
  EXPECT_THAT(Ctl({"history", "hurt"}).out, HasSubstr("damaged"));
  EXPECT_THAT(Ctl({"stats"}).out,
              AllOf(HasSubstr("Damaged checkpoints:"), HasSubstr("1 chunk damaged")));
  const auto status = Ctl({"scrub", "status", "--json"}).Json();
  EXPECT_EQ(status["damaged_chunks"], 1);
  EXPECT_EQ(status["quarantined_chunks"], 1);
  EXPECT_EQ(status["under_way"], false);
  EXPECT_EQ(status["automatic"], true);

  // Who asks for the latest is given the one before, and told why.
  const Outcome described = Ctl({"describe", "hurt@latest"});
  EXPECT_THAT(described.out, HasSubstr("hurt@100"));
  EXPECT_THAT(described.err, HasSubstr("is damaged"));
  auto client = Client::Connect({.address = daemon_->address()});
  ASSERT_TRUE(client.ok()) << client.status();
  const RunName run{"default", "hurt"};
  const auto attempt = (*client)->OpenAttempt(run, "again");
  ASSERT_TRUE(attempt.ok()) << attempt.status();
  const auto resumed = (*client)->Resume({.run = run, .attempt = attempt->attempt.number});
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->outcome, ResumeOutcome::kDamaged);
  EXPECT_EQ(resumed->checkpoint->step, 100u);
  EXPECT_THAT(resumed->explanation,
              AllOf(HasSubstr("step 200"), HasSubstr("its bytes have another digest"),
                    HasSubstr("offered instead")));
  EXPECT_THAT(Ctl({"verify", "hurt"}), ExitsWith(5));
  EXPECT_THAT(Ctl({"verify", "--project", "default"}).out, HasSubstr("hurt"));
  EXPECT_THAT(Ctl({"verify", "--all"}), ExitsWith(5));

  // Another run has the same bytes.
  Push("whole", 200);
  const Outcome healed = Ctl({"list", "hurt"});
  EXPECT_THAT(healed.out, Not(HasSubstr("DAMAGED")));
  EXPECT_THAT(Ctl({"history", "hurt"}).out, HasSubstr("what was damaged was pushed again"));
  EXPECT_THAT(Ctl({"describe", "hurt@latest"}).out, HasSubstr("hurt@200"));
  EXPECT_THAT(Ctl({"verify", "--all"}), ExitsWith(0));
  EXPECT_THAT(Ctl({"scrub", "start", "--follow"}), ExitsWith(0));
  EXPECT_THAT(Ctl({"stats"}).out, Not(HasSubstr("Damaged checkpoints")));
}

TEST_F(ScrubTest, VerifyTakesARunOrAllAndNotBoth) {
  Push("one", 1);
  EXPECT_THAT(Ctl({"verify"}), ExitsWith(2));
  EXPECT_THAT(Ctl({"verify", "one", "--all"}), ExitsWith(2));
  EXPECT_THAT(Ctl({"verify", "one", "--project", "default"}), ExitsWith(2));
  EXPECT_THAT(Ctl({"verify", "--project", "nobody"}), ExitsWith(3));
  EXPECT_THAT(Ctl({"verify", "one"}), ExitsWith(0));
  EXPECT_THAT(Ctl({"verify", "--all", "--json"}).Json()["whole"], true);
}

}  // namespace
}  // namespace ckpt::test
