// Backups made while the catalog is in use, and damage that is met then.
#include "tests/unit/daemon/catalog/journal_fixture.h"

namespace ckptd::catalog {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST_F(JournalTest, ABackupLeadsToNowWithTheRecordsSince) {
  RandomTransactions(20);
  const std::string backup = folder_ + "/backup";
  const uint64_t sequence = BackUp(backup);
  EXPECT_EQ(sequence, Sequence());
  RandomTransactions(20);
  const Dump right = All();
  catalog_.reset();
  RemoveCatalog();
  Flip(JournalFiles().at(1), 5000, 1);  // the snapshot
  const absl::Status refused = Catalog::Open(path_, options_).status();
  EXPECT_THAT(std::string(refused.message()), HasSubstr("no snapshot in its journal is whole"));
  options_.rebuild = true;
  options_.backup = backup;
  Reopen();
  EXPECT_EQ(All(), right);
  ExpectSound();
  options_.rebuild = false;
  options_.backup.clear();
  RemoveCatalogAnd([&] { Reopen(); });
  EXPECT_EQ(All(), right);
}

TEST_F(JournalTest, WithoutAJournalABackupLeadsToWhatItHas) {
  RandomTransactions(20);
  const std::string backup = folder_ + "/backup";
  BackUp(backup);
  const Dump then = All();
  RandomTransactions(20);
  catalog_.reset();
  fs::remove_all(options_.journal_dir);
  options_.rebuild = true;
  options_.backup = backup;
  Reopen();
  EXPECT_EQ(All(), then);
  EXPECT_THAT(Aside(), SizeIs(1));
}

TEST_F(JournalTest, ABackupThatIsOlderThanAWholeJournalIsRefused) {
  RandomTransactions(20);
  const std::string backup = folder_ + "/backup";
  BackUp(backup);
  options_.journal_bytes = 1;
  Reopen();
  RandomTransactions(5);
  Do(catalog_->KeepJournal());
  const Dump right = All();
  catalog_.reset();
  options_.rebuild = true;
  options_.backup = backup;
  EXPECT_THAT(std::string(Catalog::Open(path_, options_).status().message()),
              HasSubstr("without a backup. Nothing was changed"));
  options_.backup.clear();
  Reopen();
  EXPECT_EQ(All(), right);
}

TEST_F(JournalTest, ADamagedBackupIsRefused) {
  RandomTransactions(20);
  const std::string backup = folder_ + "/backup";
  BackUp(backup);
  const Dump right = All();
  catalog_.reset();
  options_.rebuild = true;
  options_.backup = backup;
  const std::string whole = Slurp(backup);
  for (uint64_t at = 20; at < whole.size(); at += whole.size() / 19) {
    Put(backup, std::string_view(whole).substr(0, at));
    EXPECT_THAT(std::string(Catalog::Open(path_, options_).status().message()),
                HasSubstr("no backup of a catalog, or not a whole one"));
  }
  options_.rebuild = false;
  options_.backup.clear();
  Reopen();
  EXPECT_EQ(All(), right);
}

TEST_F(JournalTest, WhatWasFoundDamagedInUseIsRebuiltByTheNextStart) {
  RandomTransactions(60);
  const Dump right = All();
  int told = 0;
  options_.on_damage = [&] { ++told; };
  Reopen();
  const std::string whole = Slurp(path_);
  for (uint64_t page = 1; page < whole.size() / 4096; ++page) Flip(path_, page * 4096 + 77, 1);
  for (int i = 0; i < 3; ++i) {
    const auto txn = catalog_->BeginRead();
    const absl::Status status = txn.ok() ? DumpOf((*txn)->connection()).status() : txn.status();
    EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kCatalogDamaged) << status.ToString();
  }
  EXPECT_EQ(told, 1);
  catalog_.reset();
  Put(path_, whole);  // as if it had been the memory and not the disk
  fs::remove(path_ + "-wal");
  Reopen();
  EXPECT_EQ(All(), right);
  EXPECT_THAT(Aside(), SizeIs(1));
  Reopen();
  EXPECT_THAT(Aside(), SizeIs(1)) << "it was rebuilt once more";
}

}  // namespace
}  // namespace ckptd::catalog
