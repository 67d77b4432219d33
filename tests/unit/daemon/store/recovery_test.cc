// Starting over what a crash, a newer version or another daemon left.
#include <fstream>

#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class RecoveryTest : public StoreTest {
 protected:
  void SetUp() override {
    options_.prune_interval = absl::Hours(1);  // the janitor keeps quiet meanwhile
    StoreTest::SetUp();
    options_.prune_interval = absl::Milliseconds(3);
  }
  // As if the power had gone now: goes on with a copy of the directory.
  void Crash() {
    fs_.AwaitWrites();
    const std::string copy = dir_ / ("copy" + std::to_string(++copies_));
    std::filesystem::copy(options_.data_dir, copy, std::filesystem::copy_options::recursive);
    Close();
    options_.data_dir = copy;
    Open();
  }
  int copies_ = 0;
};

TEST_F(RecoveryTest, ChunksThatArrivedBeforeTheCrashAreNotMissing) {
  Attempt("a");
  Push({.step = 1, .seeds = {1}});
  const Shard shard{.step = 2, .seeds = {1, 2, 3, 4, 5}};
  const auto opened = Get(Begin(shard));
  ASSERT_TRUE(Send(shard, opened, 3).ok());
  Crash();
  EXPECT_THAT(Steps(), ElementsAre(1));
  const auto again = Get(Begin(shard));
  EXPECT_EQ(again.upload_id, opened.upload_id);
  EXPECT_THAT(again.missing_chunks, ElementsAre(4));
  ASSERT_TRUE(Send(shard, again).ok());
  Crash();
  EXPECT_THAT(Get(Begin(shard)).missing_chunks, IsEmpty());
  EXPECT_EQ(Why(store_->CommitShard(opened.upload_id)), "OK");
  Crash();
  EXPECT_EQ(Why(store_->CommitShard(opened.upload_id)), "OK");
  EXPECT_THAT(Steps(), ElementsAre(2, 1));
  EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
}

TEST_F(RecoveryTest, ATornEndIsCutOff) {
  Attempt("a");
  const Shard shard{.step = 1, .seeds = {1, 2}};
  const auto opened = Get(Begin(shard));
  ASSERT_TRUE(Send(shard, opened).ok());
  fs_.AwaitWrites();
  const std::string copy = dir_ / "torn";
  std::filesystem::copy(options_.data_dir, copy, std::filesystem::copy_options::recursive);
  Close();
  options_.data_dir = copy;
  const auto packs = PackFiles();
  ASSERT_THAT(packs, SizeIs(1));
  constexpr uint64_t kWritten = kPackHeaderBytes + 2 * RecordExtent(kChunkBytes);
  EXPECT_GT(std::filesystem::file_size(packs[0]), kWritten);  // room for the note
  std::filesystem::resize_file(packs[0], kWritten - 4096);
  Open();
  EXPECT_THAT(Get(Begin(shard)).missing_chunks, ElementsAre(1));
  EXPECT_EQ(Why(TryPush(shard)), "OK");
}

TEST_F(RecoveryTest, ShardsThatWereDurableAreStillAndTheLastCommits) {
  Attempt("a", 2);
  Get(TryPush({.step = 1, .rank = 0}));
  Crash();
  EXPECT_THAT(Steps(), IsEmpty());
  EXPECT_EQ(Get(Begin({.step = 1, .rank = 0})).result->shards_durable, 1u);
  EXPECT_TRUE(Get(TryPush({.step = 1, .rank = 1})).checkpoint.has_value());
}

TEST_F(RecoveryTest, APackWhoseRemovalWasUndoneIsRemovedAndStrangersLeftAlone) {
  PushSteps("a", {1, 2, 3, 4});
  Reopen();
  ASSERT_TRUE(IsReclaimed());
  Close();
  const Layout layout(options_.data_dir);
  const std::string removed = layout.Pack(1), stranger = layout.Packs() + "/README";
  ASSERT_FALSE(std::filesystem::exists(removed));
  std::filesystem::create_directories(layout.PackDir(1));
  std::ofstream(removed) << "unlinked, but the directory was not written before the power went";
  std::ofstream(stranger) << "somebody's notes";
  Open();
  EXPECT_FALSE(std::filesystem::exists(removed));
  EXPECT_TRUE(std::filesystem::exists(stranger));
  EXPECT_EQ(Latest(), 4u);
  std::filesystem::remove(stranger);
}

TEST_F(RecoveryTest, ACatalogThatIsGoneOrDamagedOrOlderComesBackFromThePacks) {
  const Layout layout(options_.data_dir);
  const auto ids = PushSteps("a", {1, 2});
  Get(store_->Pin(r_, ids.at(1), "release"));
  Close();
  const std::string older = dir_ / "older";
  std::filesystem::copy_file(layout.Catalog(), older);
  Open();
  Get(store_->SetAlias(r_, ids.at(2), "good"));
  Get(store_->AttachMetrics(r_, ids.at(2), {{"val_loss", 0.5}}));
  SetPolicy(KeepLast(2));
  Push({.attempt = 1, .step = 3});
  const auto everything = [&] {
    std::string text = ckpt::ToString(Get(store_->GetPolicy(r_)).policy);
    for (const ckpt::Checkpoint& c : List(true)) {
      text += fmt::format("\n{} {}: {}", c.step, absl::FormatTime(c.committed_at),
                          ckpt::ReasonsText(c.verdict));
      for (const std::string& pin : c.pins) text += " pin " + pin;
      for (const std::string& alias : c.aliases) text += " alias " + alias;
      for (const auto& [name, value] : c.metrics) text += fmt::format(" {}={}", name, value);
    }
    for (const std::string& event : History()) text += "\n" + event;
    return text;
  };
  const std::string before = everything();
  struct Case {
    const char* what;
    std::function<void()> harm;
  };
  for (const Case& c : std::vector<Case>{
           {"gone", [&] { std::filesystem::remove(layout.Catalog()); }},
           {"damaged", [&] { std::filesystem::resize_file(layout.Catalog(), 10000); }},
           {"empty", [&] { std::filesystem::resize_file(layout.Catalog(), 0); }},
           {"older",
            [&] {
              std::filesystem::copy_file(older, layout.Catalog(),
                                         std::filesystem::copy_options::overwrite_existing);
            }},
       }) {
    SCOPED_TRACE(c.what);
    Close();
    c.harm();
    Open();
    EXPECT_EQ(everything(), before);
    EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
  }
}

// Without catalog and journal, or with an older copy of it, every pack, or the
// newest, would look as if nobody needed it.
TEST_F(RecoveryTest, PacksThatTheCatalogNeverKnewAreNotTouchedAndTheStartIsRefused) {
  const Layout layout(options_.data_dir);
  const std::string catalog = layout.Catalog(), older = dir_ / "older";
  PushSteps("a", {1});
  Close();
  std::filesystem::copy_file(catalog, older);
  Open();
  PushSteps("b", {2, 3});
  Close();
  const std::vector<std::string> packs = PackFiles();
  ASSERT_THAT(packs, SizeIs(3));
  const std::string whole = dir_ / "whole", journal = dir_ / "journal";
  std::filesystem::rename(catalog, whole);
  std::filesystem::rename(layout.Journal(), journal);
  struct Case {
    const char* what;
    std::function<void()> put;
    std::string words;
  };
  for (const Case& c : std::vector<Case>{
           {"none", [] {}, "is empty, but 3 of the packs"},
           {"an older one", [&] { std::filesystem::copy_file(older, catalog); },
            "knows packs up to 0000000000000001, but 2 of the packs"},
       }) {
    SCOPED_TRACE(c.what);
    std::filesystem::remove(catalog);
    std::filesystem::remove_all(layout.Journal());
    c.put();
    const auto refused = Store::Open(options_, &fs_, &clock_);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(Why(refused), "CATALOG_DAMAGED");
    EXPECT_THAT(std::string(refused.status().message()), HasSubstr(c.words));
    EXPECT_EQ(PackFiles(), packs);
  }
  std::filesystem::rename(whole, catalog);
  std::filesystem::remove_all(layout.Journal());
  std::filesystem::rename(journal, layout.Journal());
  Open();
  EXPECT_THAT(Steps(), ElementsAre(3, 2, 1));
}

TEST_F(RecoveryTest, ARemovalIsFinishedByTheNextStart) {
  Attempt("a", 1, r_, KeepLast(1));
  EXPECT_TRUE(IsReclaimed());
  Push({.step = 1, .seeds = {1, 2}});
  fs_.FailNth(os::Op::kRemove, 1);
  fs_.FailNth(os::Op::kPunch, 1);
  Push({.step = 2, .seeds = {2}});
  Crash();
  ASSERT_TRUE(IsReclaimed());
  EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
}

TEST_F(RecoveryTest, AfterAStartAllRunsAreJudgedHoweverMany) {
  std::vector<ckpt::RunName> runs;
  for (int i = 0; i < 100; ++i) {
    runs.push_back(Run("many-" + std::to_string(i)));
    Attempt("a", 1, runs.back());
    for (const uint64_t step : {1, 2}) {
      Push({.step = step, .seeds = {i, static_cast<int>(step) + 1000}, .run = runs.back()});
    }
  }
  Close();
  options_.default_policy = KeepLast(1);
  Open();
  for (const ckpt::RunName& run : runs) {
    EXPECT_TRUE(Eventually([&] { return Steps(run) == std::vector<uint64_t>{2}; }))
        << run.ToString();
  }
}

TEST_F(RecoveryTest, AnUnfinishedUploadOfADeadAttemptIsTakenOverAndThenDropped) {
  Attempt("a");
  const Shard shard{.step = 1, .seeds = {1, 2, 3}};
  ASSERT_TRUE(Send(shard, Get(Begin(shard)), 2).ok());
  Crash();
  Attempt("b");
  const Shard next{.attempt = 2, .step = 1, .seeds = {1, 2, 3}};
  EXPECT_THAT(Get(Begin(next)).missing_chunks, ElementsAre(2));
  Get(TryPush(next));
  EXPECT_TRUE(Eventually([&] { return Get(store_->GetStats(std::nullopt)).open_uploads == 0; }));
  EXPECT_TRUE(store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok());
}

TEST_F(RecoveryTest, APackOfOnlyATornHeaderStopsNoStart) {
  Attempt("a");
  const Shard shard{.step = 1, .seeds = {1}};
  ASSERT_TRUE(Send(shard, Get(Begin(shard))).ok());
  fs_.AwaitWrites();
  const std::string copy = dir_ / "torn";
  std::filesystem::copy(options_.data_dir, copy, std::filesystem::copy_options::recursive);
  Close();
  options_.data_dir = copy;
  std::filesystem::resize_file(PackFiles().at(0), 100);
  Open();
  EXPECT_EQ(Why(TryPush(shard)), "OK");
}

TEST_F(RecoveryTest, ADirectoryOfANewerVersionIsRefusedAndLeftAlone) {
  PushSteps("a", {1});
  Close();
  std::ofstream(Layout(options_.data_dir).Format()) << "ckptd 2\n";
  const auto refused = Store::Open(options_, &fs_, &clock_);
  EXPECT_EQ(Why(refused), "VERSION_TOO_NEW");
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("2"));
  std::ofstream(Layout(options_.data_dir).Format()) << "ckptd 1\n";
  Open();
  EXPECT_EQ(Latest(), 1u);
}

TEST_F(RecoveryTest, ASecondStoreOnTheDirectoryIsRefused) {
  PushSteps("a", {1});
  EXPECT_EQ(Why(Store::Open(options_, &fs_, &clock_)), "DIRECTORY_LOCKED");
  EXPECT_EQ(Latest(), 1u);
  Reopen();
  EXPECT_EQ(Latest(), 1u);
}

}  // namespace
}  // namespace ckptd
