// The catalog comes back from its journal, whatever happened to its files.
#include <thread>

#include "daemon/catalog/migrations.h"
#include "tests/unit/daemon/catalog/journal_fixture.h"

namespace ckptd::catalog {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// SQLite's session extension does not see tables without a primary key, nor
// rows with NULL in it.
TEST_F(JournalTest, NoTableIsLeftOut) {
  auto txn = Write();
  int tables = 0;
  for (const std::string& table : Get(TablesOf(txn->connection()))) {
    if (table == "sqlite_sequence") continue;
    ++tables;
    EXPECT_GT(Get(txn->connection().Integer(
                  "SELECT count(*) FROM pragma_table_info(?1) WHERE pk > 0", table)),
              0)
        << table << " has no primary key";
    EXPECT_EQ(
        Get(txn->connection().Integer(
            "SELECT count(*) FROM pragma_table_info(?1) AS i WHERE pk > 0 AND \"notnull\" = 0 "
            "AND NOT (type = 'INTEGER' AND 1 = (SELECT count(*) FROM pragma_table_info(?1) "
            "WHERE pk > 0))",
            table)),
        0)
        << table << " may have NULL in its primary key";
  }
  EXPECT_GT(tables, 15);
}

TEST_F(JournalTest, ACatalogThatIsGoneIsRebuiltAsItWas) {
  for (int round = 0; round < 6; ++round) {
    RandomTransactions(60);
    const Dump before = All();
    catalog_.reset();
    RemoveCatalog();
    Reopen();
    ASSERT_EQ(All(), before) << "round " << round;
    ExpectSound();
  }
  EXPECT_GT(committed_, 100);
  EXPECT_THAT(Aside(), IsEmpty());
}

TEST_F(JournalTest, AfterACleanStartTheJournalGoesOnInTheSameFiles) {
  RandomTransactions(10);
  const std::vector<std::string> files = JournalFiles();
  ASSERT_THAT(files, SizeIs(2));
  for (int i = 0; i < 5; ++i) {
    Reopen();
    RandomTransactions(3);
  }
  EXPECT_EQ(JournalFiles(), files);
}

TEST_F(JournalTest, WhatWasRecordedAndNotCommittedIsCommittedByTheNextStart) {
  RandomTransactions(30);
  for (int i = 0; i < 20; ++i) {
    const std::string before = Copy();
    const int committed = committed_;
    while (committed_ == committed) RandomTransaction();
    const std::string after = Copy();
    // The catalog from before the commit, the journal from after the record.
    fs::remove_all(before + "/packs");
    fs::copy(after + "/packs", before + "/packs", fs::copy_options::recursive);
    EXPECT_EQ(Get(Recovered(before)), All());
    In(before, [&] { EXPECT_THAT(Aside(), IsEmpty()); });
  }
}

TEST_F(JournalTest, AnOlderCopyOfTheCatalogIsReplaced) {
  RandomTransactions(30);
  const std::string older = Copy();
  RandomTransactions(30);
  const std::string newer = Copy();
  fs::remove(newer + "/catalog.sqlite-wal");
  fs::copy_file(older + "/catalog.sqlite", newer + "/catalog.sqlite",
                fs::copy_options::overwrite_existing);
  fs::copy_file(older + "/catalog.sqlite-wal", newer + "/catalog.sqlite-wal");
  EXPECT_EQ(Get(Recovered(newer)), All());
  In(newer, [&] { EXPECT_THAT(Aside(), Not(IsEmpty())); });
}

TEST_F(JournalTest, WithoutItsWriteAheadLogTheCatalogIsRebuilt) {
  RandomTransactions(50);
  const std::string copy = Copy();
  fs::remove(copy + "/catalog.sqlite-wal");
  EXPECT_EQ(Get(Recovered(copy)), All());
}

TEST_F(JournalTest, AFlippedBitInTheCatalogIsRepaired) {
  RandomTransactions(120);
  const Dump before = All();
  catalog_.reset();
  const std::string whole = Slurp(path_);
  for (uint64_t at = 7; at < whole.size(); at += 4096 * 3 + 501) {
    Flip(path_, at, static_cast<int>(at % 8));
    Reopen();
    ASSERT_EQ(All(), before) << "byte " << at;
    catalog_.reset();
  }
  EXPECT_THAT(Aside(), SizeIs(::testing::Ge(whole.size() / 4096 / 4)));
}

TEST_F(JournalTest, AFlippedBitInTheLogOfACrashIsRepaired) {
  RandomTransactions(60);
  const Dump right = All();
  const std::string crashed = Copy();
  const uint64_t size = Slurp(crashed + "/catalog.sqlite-wal").size();
  ASSERT_GT(size, 100'000u);
  for (uint64_t at = 3; at < size; at += size / 60) {
    const std::string copy = folder_ + "/flipped";
    fs::remove_all(copy);
    fs::copy(crashed, copy, fs::copy_options::recursive);
    Flip(copy + "/catalog.sqlite-wal", at, static_cast<int>(at % 8));
    ASSERT_EQ(Get(Recovered(copy)), right) << "byte " << at;
  }
}

TEST_F(JournalTest, ACatalogCutShortIsRepaired) {
  RandomTransactions(60);
  const Dump right = All();
  catalog_.reset();
  const uint64_t size = fs::file_size(path_);
  for (uint64_t length = 0; length < size; length += size / 13) {
    fs::resize_file(path_, length);
    Reopen();
    ASSERT_EQ(All(), right) << "cut at " << length;
    catalog_.reset();
  }
}

// What happens to a journal whose catalog is whole costs nothing: it is begun anew.
TEST_F(JournalTest, ADamagedJournalIsBegunAnewFromTheCatalog) {
  RandomTransactions(40);
  const Dump right = All();
  const std::string crashed = Copy(), copy = folder_ + "/damaged";
  int cases = 0;
  const auto check = [&](const std::string& what,
                         const std::function<void(const std::string&)>& harm) {
    fs::remove_all(copy);
    fs::copy(crashed, copy, fs::copy_options::recursive);
    harm(copy + "/packs/journal/");
    ASSERT_EQ(Get(Recovered(copy)), right) << what;
    fs::remove(copy + "/catalog.sqlite");
    ASSERT_EQ(Get(Recovered(copy)), right) << what << ", then the catalog was removed";
    ++cases;
  };
  for (const std::string& path : JournalFiles()) {
    const std::string name = fs::path(path).filename();
    const uint64_t size = fs::file_size(path);
    for (uint64_t at = 1; at < size; at += 1 + size / 23) {
      check(fmt::format("{} flipped at {}", name, at),
            [&](const std::string& dir) { Flip(dir + name, at, static_cast<int>(at % 8)); });
      check(fmt::format("{} cut at {}", name, at),
            [&](const std::string& dir) { fs::resize_file(dir + name, at); });
    }
    check(name + " removed", [&](const std::string& dir) { fs::remove(dir + name); });
  }
  check("all removed", [&](const std::string& dir) { fs::remove_all(dir); });
  EXPECT_GT(cases, 60);
}

// With both damaged there is nothing to compare with: what is lost is said, and
// what comes back is what was, at the latest before a last record cut off.
TEST_F(JournalTest, ADamagedJournalWithoutItsCatalogNeverGivesAnythingElse) {
  RandomTransactions(40);
  Dump previous;
  for (const int committed = committed_; committed_ == committed;) {
    previous = All();
    RandomTransaction();
  }
  const Dump right = All();
  const std::string crashed = Copy(), copy = folder_ + "/damaged";
  int whole = 0, before = 0, refused = 0;
  const auto check = [&](const std::string& what,
                         const std::function<void(const std::string&)>& harm) {
    fs::remove_all(copy);
    fs::copy(crashed, copy, fs::copy_options::recursive);
    fs::remove(copy + "/catalog.sqlite");
    fs::remove(copy + "/catalog.sqlite-wal");
    harm(copy + "/packs/journal/");
    const absl::StatusOr<Dump> dump = Recovered(copy);
    if (!dump.ok()) {
      ++refused;
      ASSERT_EQ(ckpt::ReasonOf(dump.status()), ckpt::reason::kCatalogDamaged) << what;
      ASSERT_FALSE(fs::exists(copy + "/catalog.sqlite")) << what;
      return;
    }
    whole += *dump == right;
    before += *dump == previous;
    ASSERT_TRUE(*dump == right || *dump == previous) << what;
  };
  for (const std::string& path : JournalFiles()) {
    const std::string name = fs::path(path).filename();
    const uint64_t size = fs::file_size(path);
    for (uint64_t at = 1; at < size; at += 1 + size / 61) {
      check(fmt::format("{} flipped at {}", name, at),
            [&](const std::string& dir) { Flip(dir + name, at, static_cast<int>(at % 8)); });
    }
  }
  // The last record, by its header.
  const std::string records = JournalFiles().at(0);
  const size_t last = Slurp(records).rfind("CKJ1");
  ASSERT_EQ(last % 4096, 0u);
  check("the last record", [&](const std::string& dir) {
    Flip(dir + fs::path(records).filename().string(), last + 70, 1);
  });
  EXPECT_GT(whole, 0);  // in the padding
  EXPECT_GT(before, 0);
  EXPECT_GT(refused, 20);
}

TEST_F(JournalTest, WhatIsLostIsSaidAndGivenUpOnlyWhenAsked) {
  const Dump empty = All();
  MakeRun("a");
  const Dump one = All();
  MakeRun("b");
  MakeRun("c");
  catalog_.reset();
  RemoveCatalog();
  // Each transaction in a block of its own after the head's.
  Flip(JournalFiles().at(0), 2 * 4096 + 100, 1);
  const absl::Status refused = Catalog::Open(path_, options_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("only up to transaction 1, and what came after (up to 3 at least)"));
  EXPECT_FALSE(fs::exists(path_));
  options_.rebuild = true;
  Reopen();
  EXPECT_EQ(All(), one);
  options_.rebuild = false;
  Reopen();  // it is whole again
  EXPECT_EQ(All(), one);
}

TEST_F(JournalTest, TheCatalogOfAnotherJournalIsRefusedAndLeftAlone) {
  RandomTransactions(10);
  catalog_.reset();
  const std::string own = Slurp(path_);
  const std::string other = folder_ + "/other";
  fs::create_directories(other);
  In(other, [&] {
    Reopen();
    RandomTransactions(5);
    catalog_.reset();
  });
  Put(path_, Slurp(other + "/catalog.sqlite"));
  const absl::Status refused = Catalog::Open(path_, options_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("of another catalog"));
  EXPECT_THAT(Aside(), IsEmpty());
  Put(path_, own);
  Reopen();
}

TEST_F(JournalTest, WhatWasChangedWithoutTheJournalIsInTheNext) {
  RandomTransactions(10);
  options_.fs = nullptr;
  Reopen();
  RandomTransactions(10);
  const Dump right = All();
  options_.fs = &faulty_;
  Reopen();
  catalog_.reset();
  RemoveCatalog();
  Reopen();
  EXPECT_EQ(All(), right);
}

TEST_F(JournalTest, ACatalogFromBeforeThereWasAJournalGetsOne) {
  catalog_.reset();
  fs::remove_all(data_);
  fs::create_directories(data_);
  {
    auto db = Get(Connection::Open(path_, Connection::Mode::kWriter));
    Do(Migrate(*db, 6));
    Do(db->Script("INSERT INTO projects (id, name) VALUES (3, 'old')"));
  }
  Reopen();
  RandomTransactions(10);
  const Dump right = All();
  catalog_.reset();
  RemoveCatalog();
  Reopen();
  EXPECT_EQ(All(), right);
  EXPECT_THAT(right.at("projects"), HasSubstr("'old'"));
}

TEST_F(JournalTest, ANewGenerationTakesThePlaceOfAnOldOneBesideTransactions) {
  options_.journal_bytes = 1;
  Reopen();
  std::atomic<bool> stop = false;
  std::thread keeper([&] {
    while (!stop) Do(catalog_->KeepJournal());
  });
  RandomTransactions(200);
  stop = true;
  keeper.join();
  Do(catalog_->KeepJournal());
  EXPECT_THAT(JournalFiles(), SizeIs(::testing::Le(3u)));
  EXPECT_THAT(JournalFiles().back(), Not(HasSubstr("/0000000000000001.")));
  const Dump right = All();
  const std::string crashed = Copy();
  EXPECT_EQ(Get(Recovered(crashed)), right);
  fs::remove(crashed + "/catalog.sqlite");
  EXPECT_EQ(Get(Recovered(crashed)), right);
}

TEST_F(JournalTest, ASnapshotThatFailsIsTriedAgainInPlace) {
  options_.journal_bytes = 1;
  Reopen();
  for (int i = 0; i < 40; ++i) MakeRun(fmt::format("r{}", i));
  faulty_.FailNth(os::Op::kWrite, 2, ENOSPC);  // after the head of the new records
  EXPECT_FALSE(catalog_->KeepJournal().ok());
  EXPECT_THAT(JournalFiles(), SizeIs(3));
  for (int i = 0; i < 3; ++i) {
    MakeRun(fmt::format("later {}", i));
    faulty_.FailNth(os::Op::kWrite, 1, ENOSPC);
    EXPECT_FALSE(catalog_->KeepJournal().ok());
    EXPECT_THAT(JournalFiles(), SizeIs(3));
  }
  Do(catalog_->KeepJournal());
  EXPECT_THAT(JournalFiles(), SizeIs(2));
  const Dump right = All();
  catalog_.reset();
  RemoveCatalog();
  Reopen();
  EXPECT_EQ(All(), right);
}

// Whatever fails, what was answered with an error does not come back once
// another transaction was committed, and what was answered with OK stays.
TEST_F(JournalTest, AfterAnyFailureOfTheFileSystemTheJournalIsWhole) {
  options_.journal_bytes = 1;
  struct Case {
    os::Op op;
    int error;
  };
  for (const Case& c :
       {Case{os::Op::kWrite, EIO}, Case{os::Op::kWrite, ENOSPC}, Case{os::Op::kSyncData, EIO},
        Case{os::Op::kSyncDir, EIO}, Case{os::Op::kCreate, ENOSPC}, Case{os::Op::kRemove, EIO},
        Case{os::Op::kCreateDirs, EIO}}) {
    for (int nth = 1; nth <= 5; ++nth) {
      SCOPED_TRACE(fmt::format("{} {}: {}", os::OpName(c.op), nth, c.error));
      const std::string data = fmt::format("{}/{}-{}-{}", folder_, os::OpName(c.op), nth, c.error);
      fs::create_directories(data);
      Use(data);
      Reopen();
      faulty_.FailNth(c.op, nth, c.error);
      bool failed = false;
      for (int i = 0; i < 100 && !failed; ++i) {
        const Dump unchanged = All();
        const auto txn = catalog_->BeginWrite();
        absl::Status status = txn.status();
        if (txn.ok()) {
          Get(CreateRun(**txn, {"default", fmt::format("r{}", i)}, std::nullopt, now_));
          status = (*txn)->Commit();
        }
        if (!status.ok()) {
          EXPECT_EQ(ckpt::ReasonOf(status),
                    c.error == ENOSPC ? ckpt::reason::kNoSpace : ckpt::reason::kIoError)
              << status.ToString();
          EXPECT_EQ(Settled(All()), Settled(unchanged));
        }
        failed = !status.ok() || !catalog_->KeepJournal().ok();
      }
      ASSERT_TRUE(failed);
      MakeRun("after");
      const Dump right = All();
      const std::string crashed = Copy();
      catalog_.reset();
      Use(crashed);
      Reopen();
      EXPECT_EQ(All(), right);
      catalog_.reset();
      RemoveCatalog();
      Reopen();
      EXPECT_EQ(All(), right);
    }
  }
}

TEST_F(JournalTest, WhatCanNeitherBeRecordedNorTakenBackIsNotSaidToHaveFailed) {
  const Dump unchanged = All();
  {
    const auto txn = Get(catalog_->BeginWrite());
    Get(CreateRun(*txn, {"default", "r"}, std::nullopt, now_));
    faulty_.FailNth(os::Op::kSyncData, 1);
    faulty_.FailNth(os::Op::kCreate, 1);
    const absl::Status status = txn->Commit();
    EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kIoError);
    EXPECT_THAT(std::string(status.message()), HasSubstr("Whether this change holds is known"));
  }
  EXPECT_EQ(Settled(All()), Settled(unchanged));
}

}  // namespace
}  // namespace ckptd::catalog
