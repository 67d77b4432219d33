// Backups of the catalog made while the store is in use, and the rebuild from one
// once catalog and journal are both gone.
#include <fstream>

#include "daemon/store/recovery.h"
#include "tests/unit/daemon/catalog/bytes.h"
#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class BackupTest : public StoreTest {
 protected:
  std::string File() const { return dir_ / "backup"; }
  // Into File(). `beside` is done once it has begun.
  ckpt::CatalogBackup BackUp(std::function<void()> beside = [] {}) {
    std::ofstream out(File(), std::ios::binary);
    return Get(store_->BackUpCatalog([&](std::span<const std::byte> part) -> absl::Status {
      if (beside) std::exchange(beside, nullptr)();
      out.write(reinterpret_cast<const char*>(part.data()),
                static_cast<std::streamsize>(part.size()));
      return absl::OkStatus();
    }));
  }
  // Only the packs and the backup are left, and the store is opened from these.
  void LoseCatalogAndRebuild() {
    Close();
    const Layout layout(options_.data_dir);
    for (const char* suffix : {"", "-wal", "-shm"}) {
      std::filesystem::remove(layout.Catalog() + suffix);
    }
    std::filesystem::remove_all(layout.Journal());
    // Whoever supervises the daemon starts it first, and it makes an empty catalog.
    EXPECT_EQ(Why(Store::Open(options_, &fs_, &clock_)), "CATALOG_DAMAGED");
    ASSERT_EQ(Why(RebuildCatalog(options_.data_dir, File(), &fs_, &clock_)), "OK");
    Open();
  }
  std::vector<std::string> FoldersAside() {
    std::vector<std::string> folders;
    for (const auto& item : std::filesystem::directory_iterator(options_.data_dir + "/packs")) {
      if (item.path().filename().string().starts_with("aside-")) folders.push_back(item.path());
    }
    return folders;
  }
  bool IsWhole() {
    return store_->Verify(r_, 0, [](const auto& p) { return p.damages.empty(); }).ok();
  }
};

TEST_F(BackupTest, IsWhatItsDescriptionSays) {
  PushSteps("a", {1, 2});
  const ckpt::CatalogBackup backup = BackUp();
  const std::string bytes = catalog::Slurp(File());
  EXPECT_EQ(backup.bytes, bytes.size());
  EXPECT_EQ(backup.digest, ckpt::HashBytes(bytes));
  EXPECT_EQ(backup.taken_at, clock_.Now());
  EXPECT_GT(backup.transaction, 2u);
  Push({.step = 3});
  EXPECT_GT(BackUp().transaction, backup.transaction);
}

TEST_F(BackupTest, OneIsMadeAtATimeAndTheFailureOfItsSinkEndsIt) {
  PushSteps("a", {1});
  const auto nothing = [](std::span<const std::byte>) { return absl::OkStatus(); };
  absl::Status second;
  BackUp([&] { second = store_->BackUpCatalog(nothing).status(); });
  EXPECT_TRUE(absl::IsUnavailable(second));
  EXPECT_EQ(Why(second), "BACKUP_UNDER_WAY");
  int parts = 0;
  const auto fails = [&](std::span<const std::byte>) {
    ++parts;
    return absl::CancelledError("gone");
  };
  EXPECT_TRUE(absl::IsCancelled(store_->BackUpCatalog(fails).status()));
  EXPECT_EQ(parts, 1);
  EXPECT_EQ(Why(store_->BackUpCatalog(nothing)), "OK");
}

TEST_F(BackupTest, HasWhatWasThereWhenItBeganAndHoldsUpNoPush) {
  const auto ids = PushSteps("a", {1, 2});
  Get(store_->Pin(r_, ids.at(1), "release"));
  BackUp([&] { Push({.step = 3}); });
  EXPECT_THAT(Steps(), ElementsAre(3, 2, 1));
  LoseCatalogAndRebuild();
  EXPECT_THAT(Steps(), ElementsAre(2, 1));
  EXPECT_THAT(Get(store_->GetCheckpoint(ids.at(1))).pins, ElementsAre("release"));
  EXPECT_TRUE(IsWhole());

  // What it does not know is kept, and in nobody's way.
  ASSERT_THAT(FoldersAside(), SizeIs(1));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(FoldersAside()[0]), {}), 1);
  Reopen();
  EXPECT_EQ(Push({.attempt = Attempt("b"), .step = 3}).step, 3u);
  EXPECT_THAT(Steps(), ElementsAre(3, 2, 1));
  EXPECT_TRUE(IsWhole());
  for (const std::string& folder : FoldersAside()) std::filesystem::remove_all(folder);
}

TEST_F(BackupTest, WhatWasGivenBackSinceIsKnownToBeLackingBeforeAnybodyPushes) {
  Attempt("a", 1, r_, KeepLast(1));
  const uint64_t id = Push({.step = 1, .seeds = {1, 2, 3}}).id;
  BackUp();
  Push({.step = 2, .seeds = {1, 4}});  // some is punched out of the first's pack
  ASSERT_TRUE(IsReclaimed());
  LoseCatalogAndRebuild();
  EXPECT_THAT(Get(store_->GetCheckpoint(id)).damage, HasSubstr("its space was given back"));
  const Shard again{.attempt = Attempt("b"), .step = 2, .seeds = {1, 2, 3}};
  EXPECT_THAT(Get(Begin(again)).missing_chunks, ElementsAre(1, 2));
  EXPECT_EQ(Push(again).damage, "");
  EXPECT_TRUE(IsWhole());
  for (const std::string& folder : FoldersAside()) std::filesystem::remove_all(folder);
}

TEST_F(BackupTest, WithAWholeJournalNothingIsLostAndNothingReadAnew) {
  PushSteps("a", {1, 2});
  BackUp();
  Push({.step = 3});
  Close();
  std::filesystem::remove(Layout(options_.data_dir).Catalog());
  ASSERT_EQ(Why(RebuildCatalog(options_.data_dir, File(), &fs_, &clock_)), "OK");
  Open();
  EXPECT_THAT(Steps(), ElementsAre(3, 2, 1));
  EXPECT_THAT(FoldersAside(), IsEmpty());
  EXPECT_FALSE(Get(store_->GetScrub()).ended_at.has_value());
  EXPECT_TRUE(IsWhole());
}

}  // namespace
}  // namespace ckptd
