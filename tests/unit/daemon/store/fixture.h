// A store in a directory of its own, with a clock that stands still and a file
// system that fails when told to, and short ways to push into it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/chunks/layout.h"
#include "daemon/store/reader.h"
#include "daemon/store/store.h"
#include "tests/testing/fake_clock.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/temp_dir.h"

namespace ckptd {

// The value of a StatusOr that has to be OK.
template <typename T>
T Get(absl::StatusOr<T> result) {
  if (!result.ok()) {
    ADD_FAILURE() << result.status().ToString();
    std::abort();  // nothing sensible can follow
  }
  return *std::move(result);
}

// "OK", or the reason of the error.
inline std::string Why(const absl::Status& status) {
  if (status.ok()) return "OK";
  std::string reason = ckpt::ReasonOf(status);
  return reason.empty() ? status.ToString() : reason;
}
template <typename T>
std::string Why(const absl::StatusOr<T>& result) {
  return Why(result.status());
}

inline constexpr uint32_t kChunkBytes = 8000;

// Bytes that depend on `seed` and compress to nothing shared.
inline std::vector<std::byte> BytesOf(int seed, uint32_t length = kChunkBytes) {
  std::mt19937_64 random(static_cast<uint64_t>(seed));
  std::vector<std::byte> bytes(length);
  for (size_t i = 0; i < bytes.size(); i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(bytes.data() + i, &word, std::min(sizeof(word), bytes.size() - i));
  }
  return bytes;
}

// A chunk for each seed; the same seed is the same content.
inline ckpt::Manifest ManifestOf(const std::vector<int>& seeds,
                                 uint32_t chunk_bytes = kChunkBytes) {
  ckpt::Manifest manifest;
  for (const int seed : seeds) {
    const std::vector<std::byte> bytes = BytesOf(seed, chunk_bytes);
    manifest.chunks.push_back({ckpt::HashBytes(bytes.data(), bytes.size()), chunk_bytes});
  }
  ckpt::Entry entry;
  entry.name = "state";
  entry.length = manifest.bytes();
  manifest.entries.push_back(entry);
  return manifest;
}

// What one rank pushes.
struct Shard {
  uint64_t attempt = 1;
  uint64_t step = 1;
  std::vector<int> seeds = {};  // empty: content of its own
  uint32_t rank = 0;
  ckpt::Metrics metrics = {};
  std::set<std::string> pending = {};
  ckpt::RunName run = {"default", "r"};
  bool good = true;  // false: other bytes than the manifest says are sent
  uint32_t chunk_bytes = kChunkBytes;

  std::vector<int> Seeds() const {
    if (!seeds.empty()) return seeds;
    return {static_cast<int>(attempt * 1000000 + step * 10 + rank)};
  }
};

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::default_logger();  // made before there are threads, as a daemon's is
    options_.data_dir = dir_ / "data";
    options_.version = "1.2.3";
    options_.keep_free_bytes = 0;
    options_.prune_interval = absl::Milliseconds(3);  // real time: how soon timers are looked at
    fs_.Spare("/journal");  // what fails is about packs
    Open();
  }
  void TearDown() override {
    if (store_ != nullptr) ExpectSound();
  }

  void Open() { store_ = Get(Store::Open(options_, &fs_, &clock_)); }
  void Close() { store_.reset(); }
  void Reopen() {
    Close();
    Open();
  }

  static ckpt::RunName Run(const std::string& name) { return {"default", name}; }
  const ckpt::RunName r_ = Run("r");

  // The number of the attempt.
  uint64_t Attempt(const std::string& launch, uint32_t world_size = 1,
                   const ckpt::RunName& run = Run("r"),
                   const std::optional<ckpt::Policy>& policy = std::nullopt) {
    return Get(store_->OpenAttempt(run, launch, world_size, policy, false)).attempt.number;
  }

  absl::StatusOr<Store::OpenedUpload> Begin(const Shard& shard) {
    Store::UploadRequest request;
    request.run = shard.run;
    request.attempt = shard.attempt;
    request.step = shard.step;
    request.rank = shard.rank;
    request.manifest = ManifestOf(shard.Seeds(), shard.chunk_bytes);
    request.metrics = shard.metrics;
    request.pending_metrics = shard.pending;
    return store_->OpenUpload(std::move(request));
  }
  // Sends what is missing, as the handler of the stream does.
  absl::Status Send(const Shard& shard, const Store::OpenedUpload& opened,
                    size_t at_most = 1 << 20) {
    for (const uint32_t index : opened.missing_chunks) {
      if (at_most-- == 0) break;
      RETURN_IF_ERROR(SendOne(shard, opened.upload_id, index));
    }
    return absl::OkStatus();
  }
  absl::Status SendOne(const Shard& shard, const std::string& upload_id, uint32_t index) {
    ASSIGN_OR_RETURN(std::shared_ptr<Upload> upload, store_->FindUpload(upload_id));
    const std::vector<std::byte> bytes =
        BytesOf(shard.Seeds()[index] + (shard.good ? 0 : 1), shard.chunk_bytes);
    const std::span<const std::byte> part = bytes;
    absl::Status status = upload->Append(index, std::span(&part, 1));
    if (!status.ok() && upload->dead()) store_->AbandonPack(upload);
    return status;
  }
  absl::StatusOr<Store::ShardResult> TryPush(const Shard& shard) {
    ASSIGN_OR_RETURN(Store::OpenedUpload opened, Begin(shard));
    if (opened.result) return *opened.result;
    RETURN_IF_ERROR(Send(shard, opened));
    return store_->CommitShard(opened.upload_id);
  }
  // The checkpoint, which a push of its only shard commits.
  ckpt::Checkpoint Push(const Shard& shard) {
    Store::ShardResult result = Get(TryPush(shard));
    EXPECT_TRUE(result.checkpoint.has_value());
    return result.checkpoint.value_or(ckpt::Checkpoint());
  }
  // One attempt that pushes these steps; the ids by step.
  std::map<uint64_t, uint64_t> PushSteps(const std::string& launch,
                                         const std::vector<uint64_t>& steps) {
    const uint64_t attempt = Attempt(launch);
    std::map<uint64_t, uint64_t> ids;
    for (const uint64_t step : steps) ids[step] = Push({.attempt = attempt, .step = step}).id;
    return ids;
  }

  std::vector<ckpt::Checkpoint> List(bool removed = false, const ckpt::RunName& run = Run("r")) {
    return Get(store_->ListCheckpoints(run, {.include_removed = removed, .limit = 1000}));
  }
  // Of those not removed, newest commit first.
  std::vector<uint64_t> Steps(const ckpt::RunName& run = Run("r")) {
    std::vector<uint64_t> steps;
    for (const ckpt::Checkpoint& c : List(false, run)) steps.push_back(c.step);
    return steps;
  }
  // Why each is kept or went, by step.
  std::map<uint64_t, std::string> Reasons() {
    std::map<uint64_t, std::string> reasons;
    for (const ckpt::Checkpoint& c : List(true)) {
      reasons[c.step] = (c.verdict.keep ? "kept: " : "gone: ") + ckpt::ReasonsText(c.verdict);
    }
    return reasons;
  }
  uint64_t Latest(const ckpt::RunName& run = Run("r")) {
    const ckpt::Run described = Get(store_->GetRun(run)).run;
    return described.latest ? described.latest->step : 0;
  }
  std::vector<std::string> History(uint64_t checkpoint_id = 0) {
    std::vector<std::string> texts;
    for (const ckpt::Event& event : Get(store_->ListEvents(r_, checkpoint_id, 0, 1000))) {
      texts.push_back(event.text);
    }
    return texts;
  }
  void SetPolicy(const ckpt::Policy& policy) {
    Get(store_->SetPolicy(r_, policy, /*dry_run=*/false, /*if_version=*/0));
  }
  static ckpt::Policy KeepLast(uint32_t count) {
    ckpt::Policy policy;
    policy.keep_last = count;
    return policy;
  }

  absl::StatusOr<Store::ResumeAnswer> Resume(uint64_t attempt, uint32_t rank = 0,
                                             const ckpt::Selector& selector = ckpt::SelectLatest{},
                                             bool require = false) {
    return store_->Resume(r_, attempt, rank, selector, require, std::nullopt);
  }

  // The janitor works beside the test.
  static bool Eventually(const std::function<bool()>& done) {
    // The background gives way to everything: a busy machine may take a minute.
    for (int i = 0; i < 30000; ++i) {
      if (done()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return done();
  }
  // Has the scrub make a pass from end to end; what it found.
  ckpt::Scrub Scrub() {
    Get(store_->StartScrub());
    EXPECT_TRUE(ScrubHasEnded());
    return Get(store_->GetScrub());
  }
  bool ScrubHasEnded() {
    // It gives way to pushes, also to a test's that never end.
    for (int i = 0; i < 10; ++i) {
      if (Eventually([&] { return !Get(store_->GetScrub()).under_way; })) return true;
    }
    return false;
  }

  // Once nothing is left to give back.
  bool IsReclaimed() {
    auto catalog = Get(catalog::Catalog::Open(Layout(options_.data_dir).Catalog()));
    return Eventually([&] {
      auto txn = Get(catalog->BeginRead());
      return Get(catalog::ListReclaimable(*txn, clock_.Now())).empty() &&
             Get(catalog::ListReclaims(*txn, 1)).empty() &&
             Get(catalog::ListEmptyPacks(*txn)).empty();
    });
  }
  // st_blocks of all packs, in bytes.
  uint64_t DiskBytes() {
    uint64_t bytes = 0;
    for (const std::string& path : PackFiles()) bytes += Get(real_->AllocatedBytes(path));
    return bytes;
  }
  std::vector<std::string> PackFiles() {
    std::vector<std::string> paths;
    for (const auto& file :
         std::filesystem::recursive_directory_iterator(options_.data_dir + "/packs")) {
      if (file.path().extension() == ".pack") paths.push_back(file.path());
    }
    return paths;
  }

  // Changes a byte on disk of a checkpoint's first chunk.
  void Corrupt(uint64_t checkpoint_id) {
    const Layout layout(options_.data_dir);
    auto catalog = Get(catalog::Catalog::Open(layout.Catalog()));
    auto txn = Get(catalog->BeginRead());
    const auto chunks = Get(catalog::CheckpointChunks(*txn, checkpoint_id, 0));
    ASSERT_FALSE(chunks.empty());
    const ChunkLocation at = chunks.begin()->second;
    auto file = Get(real_->OpenForUpdate(layout.Pack(at.pack)));
    const std::vector<std::byte> other(16, std::byte{0x5a});
    EXPECT_TRUE(file->Write(at.offset + kRecordHeaderBytes, other).ok());
  }
  // Damages it, and lets the store find out.
  void Damage(uint64_t checkpoint_id) {
    Corrupt(checkpoint_id);
    EXPECT_TRUE(store_->Verify(r_, checkpoint_id, [](const auto&) { return true; }).ok());
    EXPECT_NE(Get(store_->GetCheckpoint(checkpoint_id)).damage, "");
  }

  // Nothing dangles, nothing leaked: the catalog agrees with itself, and every
  // pack on disk is known and holds something.
  void ExpectSound() {
    ASSERT_TRUE(IsReclaimed());
    Close();
    const Layout layout(options_.data_dir);
    auto catalog = Get(catalog::Catalog::Open(layout.Catalog()));
    EXPECT_TRUE(catalog->Check().ok());
    auto txn = Get(catalog->BeginRead());
    EXPECT_EQ(Why(catalog::CheckReferences(*txn)), "OK");
    std::set<std::string> known;
    for (const PackId id : Get(catalog::ListPacks(*txn))) known.insert(layout.Pack(id));
    for (const std::string& path : PackFiles()) EXPECT_TRUE(known.contains(path)) << path;
    EXPECT_THAT(Get(catalog::ListEmptyPacks(*txn)), ::testing::IsEmpty());
  }

  os::TempDir dir_;
  std::unique_ptr<os::FileSystem> real_ = os::NewRealFileSystem();
  os::FaultyFileSystem fs_{real_.get()};
  os::FakeClock clock_;
  StoreOptions options_;
  std::unique_ptr<Store> store_;
};

}  // namespace ckptd
