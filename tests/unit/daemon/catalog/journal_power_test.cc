// A catalog and its journal on a disk whose power goes, over and over: what was
// committed is in both, and either brings the other back.
#include <memory>
#include <set>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/sqlite.h"
#include "tests/testing/fake_clock.h"
#include "tests/testing/simulated_file_system.h"
#include "tests/testing/simulated_vfs.h"

namespace ckptd::catalog {
namespace {

constexpr char kPath[] = "/data/catalog.sqlite";

class JournalPowerTest : public ::testing::Test {
 protected:
  JournalPowerTest() {
    std::vector<std::string> changed;
    EXPECT_EQ(disk_.MakeDirs("/data", &changed), 0);
    EXPECT_EQ(disk_.SyncDir("/"), 0);
    options_.fs = &fs_;
    options_.clock = &clock_;
    options_.journal_dir = "/data/packs/journal";
    options_.journal_bytes = 1;
  }

  absl::Status Add(Catalog& catalog, int number) {
    ASSIGN_OR_RETURN(auto txn, catalog.BeginWrite());
    RETURN_IF_ERROR(
        txn->connection().Run("INSERT INTO projects (name, chunks) VALUES (?1, ?2)",
                              fmt::format("project-{}-{}", number, std::string(900, 'x')), number));
    return txn->Commit();
  }
  absl::StatusOr<std::set<int64_t>> Numbers() {
    ASSIGN_OR_RETURN(auto catalog, Catalog::Open(kPath, options_));
    RETURN_IF_ERROR(catalog->Check());
    ASSIGN_OR_RETURN(auto txn, catalog->BeginRead());
    ASSIGN_OR_RETURN(Statement rows, txn->connection().Query("SELECT chunks FROM projects"));
    std::set<int64_t> numbers;
    while (rows.Next()) numbers.insert(rows.Int(0));
    RETURN_IF_ERROR(rows.status());
    return numbers;
  }

  os::SimulatedDisk::Random random_{20251126};
  os::SimulatedDisk disk_;
  os::SimulatedVfs vfs_{&disk_};
  os::SimulatedFileSystem fs_{&disk_};
  os::FakeClock clock_;
  CatalogOptions options_;
};

TEST_F(JournalPowerTest, WhateverACutLeavesEachHasAllThatWasCommitted) {
  std::set<int64_t> committed;
  int number = 0;
  for (int cut = 1; cut <= 150; ++cut) {
    SCOPED_TRACE(cut);
    disk_.CutPowerAt(1 + random_() % 80);
    // Calls wait once the power is gone: somebody has to tell them.
    std::thread machine([&] {
      disk_.AwaitCut(absl::InfiniteDuration());
      disk_.PowerLost();
    });
    int unknown = 0;  // its commit may have come through
    if (auto catalog = Catalog::Open(kPath, options_); catalog.ok()) {
      while (unknown == 0) {
        if (Add(**catalog, ++number).ok()) {
          committed.insert(number);
        } else {
          unknown = number;
        }
        (void)(*catalog)->KeepJournal();  // fails once the power is gone
      }
    }
    machine.join();
    disk_.PowerOn(random_);

    const auto left = disk_.Save();
    for (const char* lost : {"", "/data/packs/journal", kPath}) {
      SCOPED_TRACE(lost);
      disk_.Load(*left);
      for (const auto& file : disk_.Files()) {
        if (*lost != '\0' && file.path.starts_with(lost)) disk_.Lose(file.path);
      }
      auto found = Numbers();
      // Of a record cut short nobody can say whether it was answered; it was not.
      ASSERT_TRUE(found.ok()) << found.status();
      found->erase(unknown);
      ASSERT_EQ(*found, committed);
    }
    disk_.Load(*left);
    const auto found = Numbers();
    ASSERT_TRUE(found.ok()) << found.status();
    if (found->contains(unknown)) committed.insert(unknown);
  }
  EXPECT_GT(committed.size(), 150u) << "hardly anything was committed";
}

}  // namespace
}  // namespace ckptd::catalog
