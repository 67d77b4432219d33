// The catalog is gone, or damaged, and the daemon is started again.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "tests/integration/daemon/harness.h"
#include "tests/testing/programs.h"

namespace ckpt::test {
namespace {

namespace fs = std::filesystem;
const RunName kRun{"default", "gone"};

class CatalogGone : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(daemon_.Start());
    client_ = Connect(daemon_.address(), absl::Seconds(60));
    Policy policy;
    policy.keep_last = 2;
    policy.keep_best = {{"val_loss", MetricMode::kMin, 1}};
    const uint64_t attempt = OpenAttempt(*client_, kRun, 1, policy);
    for (uint64_t step = 1; step <= 5; ++step) {
      shards_.push_back(MakeShard(step, 3 * kMiB));
      PushRequest request;
      request.offer = {
          .run = kRun, .attempt = attempt, .step = step, .manifest = &shards_.back().manifest};
      request.offer.metrics = {{"val_loss", step == 2 ? 0.1 : 1.0 / static_cast<double>(step)}};
      request.source = std::span<const std::byte>(shards_.back().bytes);
      auto pushed = Push(*client_, request);
      ASSERT_TRUE(pushed.ok()) << pushed.status();
      ids_.push_back(pushed->checkpoint->id);
    }
    ASSERT_TRUE(client_->Pin(kRun, ids_[3], "release").ok());
    ASSERT_TRUE(client_->SetAlias(kRun, "candidate", ids_[4]).ok());
    // Until the space of those removed is given back.
    ASSERT_TRUE(WaitUntil([&] {
      const auto stats = client_->GetStats();
      return stats.ok() && stats->reclaimable_bytes == 0 &&
             stats->disk_bytes < stats->stored_bytes + kMiB;
    }));
    before_ = Picture(daemon_.address());
  }

  // Everything is there, and what is fetched is what was pushed.
  void ExpectEverything() {
    ASSERT_TRUE(daemon_.Start());
    EXPECT_EQ(Picture(daemon_.address()), before_);
    for (const size_t i : {1u, 3u, 4u}) EXPECT_EQ(FetchShard(*client_, ids_[i]), shards_[i].bytes);
  }
  std::string Catalog() const { return daemon_.data_dir() + "/catalog.sqlite"; }

  ckptd::os::TempDir dir_;
  Daemon daemon_{kCkptd, dir_ / "data", {"--compress", "off"}};
  std::unique_ptr<Client> client_;
  std::vector<Shard> shards_;
  std::vector<uint64_t> ids_;
  std::string before_;
};

TEST_F(CatalogGone, RemovedAfterAKillItIsRebuiltFromThePacks) {
  daemon_.Stop(SIGKILL);
  fs::remove(Catalog());
  fs::remove(Catalog() + "-wal");
  ExpectEverything();
  EXPECT_TRUE(daemon_.process().WaitForOutput("rebuilt from its journal"));
}

TEST_F(CatalogGone, AFlippedBitIsRepairedByTheNextStart) {
  daemon_.Stop();
  const uint64_t size = fs::file_size(Catalog());
  for (uint64_t at = 99; at < size; at += size / 5) {
    {
      std::fstream file(Catalog(), std::ios::binary | std::ios::in | std::ios::out);
      file.seekg(static_cast<std::streamoff>(at));
      const char flipped = static_cast<char>(file.get() ^ 4);
      file.seekp(static_cast<std::streamoff>(at));
      file.put(flipped);
    }
    ExpectEverything();
    daemon_.Stop();
  }
}

TEST_F(CatalogGone, ThePacksAloneAreEnough) {
  daemon_.Stop(SIGKILL);
  for (const auto& item : fs::directory_iterator(daemon_.data_dir())) {
    if (item.path().filename() != "packs") fs::remove(item.path());
  }
  ExpectEverything();
}

TEST_F(CatalogGone, DamageThatIsMetWhileRunningEndsTheDaemonAndTheNextStartRepairsIt) {
  daemon_.Stop();  // everything is in the file
  ASSERT_TRUE(daemon_.Start());
  const std::string path = Catalog();
  for (uint64_t page = 4096; page < fs::file_size(path); page += 4096) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(page + 200));
    file.write("????????", 8);
  }
  auto hasty = Connect(daemon_.address(), absl::Seconds(2));
  // What was read before may be known without the file.
  for (int i = 0; i < 100 && !daemon_.process().Ended(); ++i) {
    (void)hasty->ListRuns();
    (void)hasty->ListEvents(kRun);
    (void)hasty->GetManifest(ids_[3], 0);
  }
  EXPECT_EQ(daemon_.process().Wait(), (Ended{.code = 1})) << daemon_.process().Output();
  ExpectEverything();
}

}  // namespace
}  // namespace ckpt::test
