// A catalog in a file of its own, and short ways to push into it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/catalog/damage.h"
#include "daemon/catalog/events.h"
#include "daemon/catalog/resumes.h"
#include "daemon/catalog/runs.h"
#include "daemon/catalog/sqlite.h"
#include "daemon/catalog/uploads.h"

namespace ckptd::catalog {

#define ASSERT_OK(expr)                                         \
  do {                                                          \
    if (const absl::Status ok_status = (expr); !ok_status.ok()) \
      FAIL() << #expr << ": " << ok_status.ToString();          \
  } while (false)

// The value of a StatusOr that has to be OK.
template <typename T>
T Get(absl::StatusOr<T> result) {
  if (!result.ok()) {
    ADD_FAILURE() << result.status().ToString();
    // Nothing sensible can follow.
    std::abort();
  }
  return *std::move(result);
}

inline void Do(const absl::Status& status) { EXPECT_TRUE(status.ok()) << status.ToString(); }

constexpr uint64_t kExtent = 4096;
constexpr uint32_t kLength = 100;

inline ckpt::Digest DigestOf(int seed) { return ckpt::HashBytes(std::to_string(seed)); }

// A chunk for each seed; the same seed is the same content.
inline ckpt::Manifest ManifestOf(const std::vector<int>& seeds) {
  ckpt::Manifest manifest;
  for (const int seed : seeds) manifest.chunks.push_back({DigestOf(seed), kLength});
  ckpt::Entry entry;
  entry.name = "state";
  entry.length = manifest.bytes();
  manifest.entries.push_back(entry);
  return manifest;
}

class CatalogTest : public ::testing::Test {
 protected:
  CatalogTest() {
    std::string pattern = ::testing::TempDir() + "/catalog.XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    path_ = folder_ + "/catalog.sqlite";
  }
  ~CatalogTest() override {
    catalog_.reset();
    std::filesystem::remove_all(folder_);
  }
  void SetUp() override { Reopen(); }
  void Reopen() {
    catalog_.reset();
    catalog_ = Get(Catalog::Open(path_, options_));
  }

  std::unique_ptr<ReadTxn> Read() { return Get(catalog_->BeginRead()); }
  std::unique_ptr<WriteTxn> Write() { return Get(catalog_->BeginWrite()); }
  // `change(txn)` in a transaction of its own; its value.
  template <typename F>
  auto Change(F change) {
    auto txn = Write();
    if constexpr (std::is_void_v<decltype(change(*txn))>) {
      change(*txn);
      Do(txn->Commit());
    } else {
      auto value = change(*txn);
      Do(txn->Commit());
      return value;
    }
  }

  RunRow MakeRun(const std::string& name, const std::string& project = "default") {
    return Change([&](WriteTxn& txn) {
      RunRow run = Get(CreateRun(txn, {project, name}, std::nullopt, now_));
      Get(InsertAttempt(txn, run.id, name, 1, now_));
      return run;
    });
  }

  struct Shard {
    uint64_t step = 0;
    std::vector<int> seeds = {};
    uint32_t rank = 0;
    uint32_t world_size = 1;
    uint64_t attempt = 1;
    ckpt::Metrics metrics = {};
  };
  UploadRow Open(WriteTxn& txn, const RunRow& run, const Shard& shard) {
    NewUpload upload;
    upload.run_id = run.id;
    upload.attempt = shard.attempt;
    upload.step = shard.step;
    upload.rank = shard.rank;
    upload.world_size = shard.world_size;
    upload.metrics = shard.metrics;
    return Get(InsertUpload(txn, upload, ManifestOf(shard.seeds), now_));
  }
  // Everything that a push does; the id once the checkpoint is committed.
  uint64_t Push(WriteTxn& txn, const RunRow& run, const Shard& shard) {
    const UploadRow upload = Open(txn, run, shard);
    Store(txn, run, upload.shard_row, shard.seeds);
    return Get(FinishShard(txn, upload.shard_row, 1, now_));
  }
  uint64_t Push(const RunRow& run, const Shard& shard) {
    return Change([&](WriteTxn& txn) { return Push(txn, run, shard); });
  }
  // Refers to what the project has and writes the rest into a new pack.
  PackId Store(WriteTxn& txn, const RunRow& run, int64_t shard_row, const std::vector<int>& seeds) {
    std::vector<ckpt::Digest> digests;
    for (const int seed : seeds) digests.push_back(DigestOf(seed));
    const auto present = Get(ReferToPresent(txn, run.project_id, shard_row, digests));
    std::set<ckpt::Digest> had(present.begin(), present.end());
    const PackId pack = Get(StartPack(txn, shard_row, now_));
    std::vector<StoredChunk> stored;
    for (const ckpt::Digest& digest : digests) {
      if (!had.insert(digest).second) continue;
      stored.push_back({digest, {pack, stored.size() * kExtent, kExtent, kLength}});
    }
    Do(InsertChunks(txn, run.project_id, shard_row, stored));
    Do(SealPack(txn, pack));
    return pack;
  }
  void Remove(uint64_t id, std::optional<absl::Time> restorable_until = std::nullopt) {
    Change([&](WriteTxn& txn) {
      Do(MarkRemoved(txn, id, {{ckpt::Reason::Rule::kSuperseded, "no rule kept it"}}, now_,
                     restorable_until));
    });
  }
  void Release(uint64_t id) {
    Change([&](WriteTxn& txn) { EXPECT_TRUE(Get(ReleaseCheckpoint(txn, id, 1000))); });
  }
  void ExpectSound() {
    Do(catalog_->Check());
    Do(CheckReferences(*Read()));
  }

  std::string folder_, path_;
  CatalogOptions options_;
  std::unique_ptr<Catalog> catalog_;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
};

}  // namespace ckptd::catalog
