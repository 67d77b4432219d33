// The catalog on a disk whose power goes: what was committed lasts, what was not
// is not there in part.
#include <cerrno>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/sqlite.h"
#include "tests/testing/simulated_vfs.h"

namespace ckptd::catalog {
namespace {

constexpr char kPath[] = "/data/catalog.sqlite";

// Two rows a transaction, so that half of one could be seen.
absl::Status Add(Catalog& catalog, int number) {
  ASSIGN_OR_RETURN(auto txn, catalog.BeginWrite());
  for (const int half : {0, 1}) {
    RETURN_IF_ERROR(txn->connection().Run(
        "INSERT INTO projects (name, chunks) VALUES (?1, ?2)",
        fmt::format("project-{}-{}-{}", number, half, std::string(900, 'x')), number));
  }
  return txn->Commit();
}

absl::StatusOr<std::multiset<int64_t>> Numbers(Catalog& catalog) {
  ASSIGN_OR_RETURN(auto txn, catalog.BeginRead());
  ASSIGN_OR_RETURN(Statement rows, txn->connection().Query("SELECT chunks FROM projects"));
  std::multiset<int64_t> numbers;
  while (rows.Next()) numbers.insert(rows.Int(0));
  RETURN_IF_ERROR(rows.status());
  return numbers;
}

class CatalogPowerCutTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::vector<std::string> changed;
    ASSERT_EQ(disk.MakeDirs("/data", &changed), 0);
    ASSERT_EQ(disk.SyncDir("/"), 0);
  }

  os::SimulatedDisk::Random random{1};
  os::SimulatedDisk disk;
  os::SimulatedVfs vfs{&disk};
};

TEST_F(CatalogPowerCutTest, KeepsWhatWasCommittedAndNoHalves) {
  std::set<int> committed;
  int number = 0;
  for (int cut = 1; cut <= 150; ++cut) {
    SCOPED_TRACE(cut);
    disk.CutPowerAt(1 + random() % 90);
    // Calls wait once the power is gone: somebody has to tell them.
    std::thread machine([&] {
      disk.AwaitCut(absl::InfiniteDuration());
      disk.PowerLost();
    });
    int unknown = 0;  // its commit may have come through
    if (auto catalog = Catalog::Open(kPath); catalog.ok()) {
      while (unknown == 0) {
        ++number;
        if (Add(**catalog, number).ok()) {
          committed.insert(number);
        } else {
          unknown = number;
        }
      }
    }
    machine.join();
    disk.PowerOn(random);

    auto catalog = Catalog::Open(kPath);
    ASSERT_TRUE(catalog.ok()) << catalog.status();
    EXPECT_EQ((*catalog)->Check(), absl::OkStatus());
    const auto found = Numbers(**catalog);
    ASSERT_TRUE(found.ok()) << found.status();
    if (found->contains(unknown)) committed.insert(unknown);
    std::multiset<int64_t> expected;
    for (const int each : committed) expected.insert({each, each});
    ASSERT_EQ(*found, expected);
  }
  EXPECT_GT(committed.size(), 150u) << "hardly anything was committed";
}

TEST_F(CatalogPowerCutTest, MayBeCutShortAtEveryStepOfItsCreation) {
  const std::shared_ptr<const os::SimulatedDisk::Image> empty = disk.Save();
  const auto expect_usable = [&] {
    const auto catalog = Catalog::Open(kPath);
    ASSERT_TRUE(catalog.ok()) << catalog.status();
    EXPECT_EQ(Add(**catalog, 1), absl::OkStatus());
  };
  bool whole = false;
  uint64_t steps = 0;
  while (!whole) {
    const uint64_t at = ++steps;
    SCOPED_TRACE(at);
    disk.FailNth(at, EIO);
    whole = Catalog::Open(kPath).ok();
    ASSERT_NO_FATAL_FAILURE(expect_usable());
    disk.Load(*empty);

    // What is left of the same is another each time.
    for (int cut = 0; cut < 10 && !whole; ++cut) {
      disk.CutPowerAt(at);
      std::thread machine([&] {
        disk.AwaitCut(absl::InfiniteDuration());
        disk.PowerLost();
      });
      EXPECT_FALSE(Catalog::Open(kPath).ok());
      machine.join();
      disk.PowerOn(random);
      ASSERT_NO_FATAL_FAILURE(expect_usable());
      disk.Load(*empty);
    }
  }
  EXPECT_GT(steps, 5u) << "hardly anything was done";
}

TEST_F(CatalogPowerCutTest, ACommitThatFailedDoesNotComeBack) {
  int number = 0, failures = 0;
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    auto catalog = Catalog::Open(kPath);
    ASSERT_TRUE(catalog.ok()) << catalog.status();
    // In the second transaction, so that the first says what was there before.
    ASSERT_EQ(Add(**catalog, ++number), absl::OkStatus());
    disk.FailNth(1 + random() % 12, random() % 2 == 0 ? EIO : ENOSPC);
    const bool failed = !Add(**catalog, ++number).ok();
    failures += failed;
    const auto seen = Numbers(**catalog);
    disk.PowerLost();  // before it could close in order
    catalog->reset();
    disk.PowerOn(random);
    auto again = Catalog::Open(kPath);
    ASSERT_TRUE(again.ok()) << again.status();
    const auto left = Numbers(**again);
    ASSERT_TRUE(left.ok()) << left.status();
    // Unless nobody was told anything.
    if (seen.ok()) {
      ASSERT_EQ(*left, *seen) << (failed ? "after a failure" : "");
    }
  }
  EXPECT_GT(failures, 50);
}

}  // namespace
}  // namespace ckptd::catalog
