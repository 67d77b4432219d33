// No flipped bit goes unnoticed: not in a page of the file, not in the
// write-ahead log.
#include <sqlite3.h>

#include "daemon/catalog/migrations.h"
#include "tests/unit/daemon/catalog/bytes.h"
#include "tests/unit/daemon/catalog/history.h"

namespace ckptd::catalog {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

constexpr uint64_t kPage = 4096;

class ChecksumTest : public HistoryTest {
 protected:
  // What a reader sees that has nothing in its cache.
  absl::StatusOr<Dump> ColdDump() {
    ASSIGN_OR_RETURN(auto db, Connection::Open(path_, Connection::Mode::kReader));
    return DumpOf(*db);
  }
  // Empties the log.
  void Checkpoint() {
    Do(Get(Connection::Open(path_, Connection::Mode::kWriter))
           ->Script("PRAGMA wal_checkpoint(TRUNCATE)"));
  }
  // Pages of every kind: interior, overflow, free.
  void Fill() {
    RandomTransactions(150);
    const RunRow run = MakeRun("large");
    std::vector<int> seeds(3000);
    std::iota(seeds.begin(), seeds.end(), 100000);
    const uint64_t id = Push(run, {.step = 1, .seeds = seeds});
    Remove(id);
    Change([&](WriteTxn& txn) { EXPECT_TRUE(Get(ReleaseCheckpoint(txn, id, 10000))); });
    EXPECT_GT(Get(Read()->connection().Integer("PRAGMA freelist_count")), 10);
  }
};

TEST_F(ChecksumTest, AFlippedBitInAnyPageIsFoundWhenTheCatalogIsOpened) {
  Fill();
  catalog_.reset();
  const std::string whole = Slurp(path_);
  ASSERT_EQ(whole.size() % kPage, 0u);
  ASSERT_GT(whole.size() / kPage, 100u);
  std::vector<std::pair<uint64_t, int>> flips;
  for (uint64_t page = 0; page < whole.size(); page += kPage) {
    for (const uint64_t at : {uint64_t{0}, uint64_t{5}, page / kPage * 37 % kPage, kPage - 1}) {
      flips.emplace_back(page + at, Chance(8));
    }
  }
  for (uint64_t at = 0; at < 100; ++at) {  // the file's header
    for (int bit = 0; bit < 8; ++bit) flips.emplace_back(at, bit);
  }
  for (const auto& [at, bit] : flips) {
    Put(path_, whole);
    Flip(path_, at, bit);
    const absl::Status status = Catalog::Open(path_).status();
    ASSERT_EQ(ckpt::ReasonOf(status), ckpt::reason::kCatalogDamaged)
        << "bit " << bit << " of byte " << at << ": " << status.ToString();
    ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss);
  }
  Put(path_, whole);
  Reopen();
  ExpectSound();
}

TEST_F(ChecksumTest, AFlippedBitWhileRunningIsAnErrorAndNeverAnotherValue) {
  Fill();
  Checkpoint();
  const Dump right = All();
  int noticed = 0;
  const uint64_t pages = Slurp(path_).size() / kPage;
  for (uint64_t page = 0; page < pages; ++page) {
    const uint64_t at = page * kPage + page * 61 % kPage;
    Flip(path_, at, static_cast<int>(page % 8));
    const absl::StatusOr<Dump> dump = ColdDump();
    if (dump.ok()) {
      ASSERT_EQ(*dump, right) << "page " << page;  // an index's, or a free one
    } else {
      ++noticed;
      ASSERT_EQ(ckpt::ReasonOf(dump.status()), ckpt::reason::kCatalogDamaged)
          << "page " << page << ": " << dump.status().ToString();
    }
    Flip(path_, at, static_cast<int>(page % 8));
  }
  EXPECT_GT(noticed, static_cast<int>(pages) / 4);
}

TEST_F(ChecksumTest, AFlippedBitInTheLogIsAnErrorAndNeverAnotherValue) {
  RandomTransactions(40);
  Checkpoint();
  RandomTransactions(5);
  const Dump right = All();
  const std::string log = path_ + "-wal";
  const uint64_t size = Slurp(log).size();
  ASSERT_GT(size, 10 * kPage);
  int noticed = 0;
  for (uint64_t at = 0; at < size; at += 211) {
    Flip(log, at, static_cast<int>(at % 8));
    const absl::StatusOr<Dump> dump = ColdDump();
    if (dump.ok()) {
      ASSERT_EQ(*dump, right) << "byte " << at;
    } else {
      ++noticed;
      ASSERT_EQ(ckpt::ReasonOf(dump.status()), ckpt::reason::kCatalogDamaged)
          << "byte " << at << ": " << dump.status().ToString();
    }
    Flip(log, at, static_cast<int>(at % 8));
  }
  EXPECT_GT(noticed, 30);
}

TEST_F(ChecksumTest, ACheckpointTakesNoDamagedPageFromTheLog) {
  RandomTransactions(40);
  Checkpoint();
  const std::string before = Slurp(path_);
  RandomTransactions(5);
  const std::string log = path_ + "-wal";
  for (uint64_t at = 32 + 24; at < Slurp(log).size(); at += 24 + kPage) Flip(log, at + 100, 3);
  auto db = Get(Connection::Open(path_, Connection::Mode::kWriter));
  EXPECT_EQ(ckpt::ReasonOf(db->Script("PRAGMA wal_checkpoint(TRUNCATE)")),
            ckpt::reason::kCatalogDamaged);
  EXPECT_EQ(Slurp(path_), before);
}

TEST_F(ChecksumTest, AFileCutShortIsDamaged) {
  Fill();
  catalog_.reset();
  const std::string whole = Slurp(path_);
  for (uint64_t size = 512; size < whole.size(); size += 1 + whole.size() / 97) {
    Put(path_, std::string_view(whole).substr(0, size));
    const absl::Status status = Catalog::Open(path_).status();
    EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kCatalogDamaged)
        << size << ": " << status.ToString();
  }
}

TEST_F(ChecksumTest, PagesThatChangedPlacesAreDamaged) {
  Fill();
  catalog_.reset();
  std::string bytes = Slurp(path_);
  std::swap_ranges(bytes.begin() + 2 * kPage, bytes.begin() + 3 * kPage, bytes.begin() + 9 * kPage);
  Put(path_, bytes);
  EXPECT_EQ(ckpt::ReasonOf(Catalog::Open(path_).status()), ckpt::reason::kCatalogDamaged);
}

TEST_F(ChecksumTest, TheIndexOfTheLogIsNoFile) {
  RandomTransactions(5);
  std::set<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(folder_)) {
    names.insert(file.path().filename());
  }
  EXPECT_THAT(names, ::testing::ElementsAre("catalog.sqlite", "catalog.sqlite-wal"));
}

// A catalog as it was before its pages carried checksums.
class LegacyTest : public ChecksumTest {
 protected:
  // What schema 6 has of the catalog, which is open, written by SQLite alone.
  void MakeLegacy(const std::string& path) {
    const std::string schema = path + ".schema";
    Do(Migrate(*Get(Connection::Open(schema, Connection::Mode::kWriter)), 6));
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
    const auto run = [&](const std::string& sql) {
      ASSERT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
          << sql << ": " << sqlite3_errmsg(db);
    };
    // The statements that a query makes.
    const auto made = [&](const char* query) {
      std::string script;
      sqlite3_exec(
          db, query,
          [](void* out, int, char** values, char**) {
            *static_cast<std::string*>(out) += values[0];
            return 0;
          },
          &script, nullptr);
      return script;
    };
    run("PRAGMA journal_mode = WAL; ATTACH '" + path_ + "' AS whole; ATTACH '" + schema +
        "' AS old");
    run("BEGIN;" +
        made("SELECT sql || ';' FROM old.sqlite_schema "
             "WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%' ORDER BY type DESC") +
        made("WITH t AS (SELECT m.name, (SELECT group_concat(c.name) FROM "
             "pragma_table_info(m.name, 'old') AS c) AS columns FROM old.sqlite_schema AS m "
             "WHERE m.type = 'table' AND m.name <> 'sqlite_sequence') "
             "SELECT 'INSERT INTO main.' || name || ' (' || columns || ') SELECT ' || columns || "
             "' FROM whole.' || name || ';' FROM t") +
        "DELETE FROM main.sqlite_sequence; INSERT INTO main.sqlite_sequence SELECT * FROM "
        "whole.sqlite_sequence WHERE name IN (SELECT name FROM main.sqlite_schema);"
        "COMMIT; PRAGMA main.user_version = 6");
    sqlite3_close(db);
  }
};

TEST_F(LegacyTest, ItIsLaidOutAnewOnceAndKeepsEverything) {
  RandomTransactions(200);
  Checkpoint();
  const std::string legacy = folder_ + "/legacy.sqlite";
  MakeLegacy(legacy);
  EXPECT_EQ(Slurp(legacy)[20], 0);
  Columns columns;
  Dump before;
  {
    auto db = Get(Connection::Open(legacy, Connection::Mode::kReader));
    columns = Get(ColumnsOf(*db));
    before = Get(DumpOf(*db));
  }
  EXPECT_THAT(before.at("checkpoints"), Not(IsEmpty()));
  path_ = legacy;
  Reopen();
  EXPECT_EQ(Slurp(legacy)[20], 8);
  EXPECT_EQ(Get(DumpOf(Read()->connection(), columns)), before);
  ExpectSound();
  RandomTransactions(20);
  catalog_.reset();
  const std::string whole = Slurp(legacy);
  for (uint64_t page = 0; page < whole.size(); page += kPage) {
    Flip(legacy, page + 300, 2);
    EXPECT_EQ(ckpt::ReasonOf(Catalog::Open(path_).status()), ckpt::reason::kCatalogDamaged);
    Put(legacy, whole);
  }
  Reopen();
  ExpectSound();
}

TEST_F(LegacyTest, ADamagedOneIsDamaged) {
  RandomTransactions(100);
  Checkpoint();
  const std::string legacy = folder_ + "/legacy.sqlite";
  MakeLegacy(legacy);
  std::string bytes = Slurp(legacy);
  std::fill(bytes.begin() + 3 * kPage, bytes.begin() + 4 * kPage, 'x');
  Put(legacy, bytes);
  EXPECT_EQ(ckpt::ReasonOf(Catalog::Open(legacy).status()), ckpt::reason::kCatalogDamaged);
}

}  // namespace
}  // namespace ckptd::catalog
