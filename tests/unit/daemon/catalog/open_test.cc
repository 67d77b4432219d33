// Opening, migrating, transactions.
#include <fstream>
#include <thread>

#include "daemon/catalog/migrations.h"
#include "tests/unit/daemon/catalog/fixture.h"

namespace ckptd::catalog {
namespace {

using OpenTest = CatalogTest;

int64_t Pragma(Connection& db, const std::string& name) {
  return Get(db.Integer("PRAGMA " + name)).value_or(-1);
}

TEST_F(OpenTest, ACommittedRowIsThereAfterReopening) {
  const RunRow run = MakeRun("a");
  Reopen();
  EXPECT_EQ(Get(FindRunById(*Read(), run.id))->name.run, "a");
}

TEST_F(OpenTest, EveryCommitIsDurableAndForeignKeysHold) {
  auto txn = Write();
  EXPECT_EQ(Pragma(txn->connection(), "synchronous"), 2);
  EXPECT_EQ(Pragma(txn->connection(), "foreign_keys"), 1);
  auto mode = Get(txn->connection().Query("PRAGMA journal_mode"));
  ASSERT_TRUE(mode.Next());
  EXPECT_EQ(mode.Text(0), "wal");
}

TEST_F(OpenTest, RefusesANewerSchemaNamingBothVersionsAndLeavesItAlone) {
  Change([](WriteTxn& txn) { Do(txn.connection().Script("PRAGMA user_version = 77")); });
  catalog_.reset();
  const absl::Status status = Catalog::Open(path_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kVersionTooNew);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("77"));
  EXPECT_THAT(std::string(status.message()),
              ::testing::HasSubstr(fmt::format("up to {}", SchemaVersion())));
  EXPECT_EQ(Pragma(*Get(Connection::Open(path_, Connection::Mode::kWriter)), "user_version"), 77);
}

TEST_F(OpenTest, MigratesFromEachSchemaBefore) {
  for (int version = 0; version < SchemaVersion(); ++version) {
    SCOPED_TRACE(version);
    const std::string path = fmt::format("{}/from{}", folder_, version);
    {
      auto db = Get(Connection::Open(path, Connection::Mode::kWriter));
      Do(Migrate(*db, version));
      EXPECT_EQ(Pragma(*db, "user_version"), version);
    }
    auto catalog = Get(Catalog::Open(path));
    auto txn = Get(catalog->BeginWrite());
    EXPECT_EQ(Pragma(txn->connection(), "user_version"), SchemaVersion());
    Get(CreateRun(*txn, {"default", "a"}, std::nullopt, now_));
    Do(txn->Commit());
    Do(catalog->Check());
  }
}

TEST_F(OpenTest, AFileThatIsNoDatabaseIsDamaged) {
  catalog_.reset();
  std::filesystem::remove(path_ + "-wal");
  std::ofstream(path_, std::ios::trunc) << std::string(8192, 'x');
  const absl::Status status = Catalog::Open(path_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status.ToString();
  EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kCatalogDamaged);
}

TEST_F(OpenTest, AFolderThatIsNotThereIsAnIoError) {
  const absl::Status status = Catalog::Open(folder_ + "/none/catalog").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status.ToString();
  EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kIoError);
}

TEST_F(OpenTest, ADatabaseThatCannotGrowIsNoSpaceAndNothingChanged) {
  Change([&](WriteTxn& txn) {
    const int64_t pages = Pragma(txn.connection(), "page_count");
    Do(txn.connection().Script(fmt::format("PRAGMA max_page_count = {}", pages)));
  });
  {
    auto txn = Write();
    absl::Status status = absl::OkStatus();
    for (int i = 0; i < 2000 && status.ok(); ++i) {
      status = CreateRun(*txn, {"default", fmt::format("{:0100}", i)}, std::nullopt, now_).status();
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status.ToString();
    EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kNoSpace);
  }
  EXPECT_TRUE(Get(ListRuns(*Read(), "", "", std::nullopt, 0)).empty());
  ExpectSound();
}

TEST_F(OpenTest, WhatWasNotCommittedIsRolledBack) {
  {
    auto txn = Write();
    Get(CreateRun(*txn, {"default", "a"}, std::nullopt, now_));
    EXPECT_TRUE(Get(FindRun(*txn, {"default", "a"})));  // reads its own writes
  }
  EXPECT_FALSE(Get(FindRun(*Read(), {"default", "a"})));
}

TEST_F(OpenTest, ARolledBackCommitGivesItsIdToTheNext) {
  const RunRow run = MakeRun("a");
  {
    auto txn = Write();
    EXPECT_EQ(Push(*txn, run, {.step = 1, .seeds = {1}}), 1u);
  }
  EXPECT_EQ(Push(run, {.step = 2, .seeds = {2}}), 1u);
}

TEST_F(OpenTest, ATransactionCommitsOnce) {
  auto txn = Write();
  Do(txn->Commit());
  EXPECT_FALSE(txn->Commit().ok());
  Write();  // the writer's place is free again
}

TEST_F(OpenTest, AReaderKeepsItsSnapshotAndDoesNotBlockTheWriter) {
  auto before = Read();
  MakeRun("a");
  EXPECT_FALSE(Get(FindRun(*before, {"default", "a"})));
  EXPECT_TRUE(Get(FindRun(*Read(), {"default", "a"})));
}

TEST_F(OpenTest, AReaderCannotWrite) {
  auto txn = Read();
  EXPECT_FALSE(txn->connection().Run("DELETE FROM runs").ok());
}

TEST_F(OpenTest, WritersTakeTurnsAndReadersRunBeside) {
  constexpr int kThreads = 8, kEach = 10;
  const RunRow run = MakeRun("a");
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kEach; ++i) {
        const uint64_t step = static_cast<uint64_t>(thread * kEach + i);
        Push(run, {.step = step, .seeds = {thread, 1000 + i}});
        Get(ListCheckpoints(*Read(), run.id, {}));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Get(GetRunFigures(*Read(), run.id)).checkpoints, uint64_t{kThreads * kEach});
  ExpectSound();
}

}  // namespace
}  // namespace ckptd::catalog
