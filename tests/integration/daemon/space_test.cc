// What checkpoints cost on disk and on the line, with a real daemon.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "tests/integration/daemon/harness.h"
#include "tests/testing/programs.h"
#include "tests/testing/proxy.h"

namespace ckpt::test {
namespace {

const RunName kRun{"default", "space"};

class Space : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(daemon_.Start());
    client_ = Connect(daemon_.address());
  }
  // Space comes back in the background: waits until `du` says at most `bytes`.
  testing::AssertionResult ShrinksTo(uint64_t bytes) {
    uint64_t now = 0;
    auto shrunk = [&] { return (now = DiskBytes(daemon_.data_dir())) <= bytes; };
    if (WaitUntil(shrunk, std::chrono::seconds(30))) return testing::AssertionSuccess();
    return testing::AssertionFailure() << now << " bytes on disk, not " << bytes << " or less";
  }

  ckptd::os::TempDir dir_;
  Daemon daemon_{kCkptd, dir_ / "data"};
  std::unique_ptr<Client> client_;
};

// The catalog and record headers beside the bytes themselves.
constexpr uint64_t kBeside = 3 * kMiB;

TEST_F(Space, OfCheckpointsThatTheRulesLetGoComesBackWithoutBeingAsked) {
  constexpr uint64_t kEach = 32 * kMiB;
  Policy policy;
  policy.keep_last = 2;
  const uint64_t attempt = OpenAttempt(*client_, kRun, 1, policy);
  for (uint64_t step = 1; step <= 6; ++step) {
    auto pushed = PushShard(*client_, kRun, attempt, step, MakeShard(step, kEach));
    ASSERT_TRUE(pushed.ok()) << pushed.status();
  }
  EXPECT_TRUE(ShrinksTo(2 * kEach + kBeside));
  EXPECT_GE(DiskBytes(daemon_.data_dir()), 2 * kEach);
  auto kept = client_->ListCheckpoints(kRun);
  ASSERT_TRUE(kept.ok()) << kept.status();
  ASSERT_EQ(kept->size(), 2u);
  for (const Checkpoint& checkpoint : *kept) {
    EXPECT_EQ(FetchShard(*client_, checkpoint.id), MakeShard(checkpoint.step, kEach).bytes);
  }
}

TEST_F(Space, ComesBackAfterPruneAndDeletionButSharedBytesStay) {
  constexpr uint64_t kEach = 16 * kMiB;
  const uint64_t attempt = OpenAttempt(*client_, kRun, 1, Policy());  // no rules: all is kept
  std::vector<Shard> shards;
  for (uint64_t step = 1; step <= 4; ++step) {
    shards.push_back(MakeShard({{"frozen", 100, kEach}, {"trained", step, kEach}}));
    ASSERT_TRUE(PushShard(*client_, kRun, attempt, step, shards.back()).ok());
  }
  const uint64_t before = DiskBytes(daemon_.data_dir());
  EXPECT_GE(before, 5 * kEach);
  EXPECT_LE(before, 5 * kEach + kBeside);

  Policy two;
  two.keep_last = 2;
  auto preview = client_->SetPolicy(kRun, two, /*dry_run=*/true);
  ASSERT_TRUE(preview.ok()) << preview.status();
  EXPECT_GE(preview->result.freed_bytes, 2 * kEach);
  EXPECT_LE(preview->result.freed_bytes, 2 * kEach + kBeside);
  EXPECT_GE(DiskBytes(daemon_.data_dir()), 5 * kEach) << "a preview removed something";

  ASSERT_TRUE(client_->SetPolicy(kRun, two).ok());
  ASSERT_TRUE(client_->Prune(kRun).ok());
  EXPECT_TRUE(ShrinksTo(3 * kEach + kBeside));

  auto kept = client_->ListCheckpoints(kRun);
  ASSERT_TRUE(kept.ok() && kept->size() == 2);
  EXPECT_EQ(FetchShard(*client_, kept->front().id), shards[3].bytes);
  auto deleted = client_->DeleteCheckpoints(kRun, {kept->back().id});
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_TRUE(ShrinksTo(2 * kEach + kBeside));
  EXPECT_EQ(FetchShard(*client_, kept->front().id), shards[3].bytes);

  ASSERT_TRUE(client_->DeleteRun(kRun).ok());
  EXPECT_TRUE(ShrinksTo(kBeside));
}

TEST_F(Space, OfAnAbortedUploadComesBack) {
  const Shard shard = MakeShard(1, 32 * kMiB);
  const uint64_t attempt = OpenAttempt(*client_, kRun);
  PushRequest request;
  request.offer = {.run = kRun, .attempt = attempt, .step = 1, .manifest = &shard.manifest};
  request.source = ChunkReader([&](uint32_t index, uint64_t offset, std::span<std::byte> into) {
    if (index == 6) return absl::AbortedError("enough");
    std::copy_n(shard.bytes.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
    return absl::OkStatus();
  });
  ASSERT_FALSE(Push(*client_, request).ok());
  auto again = client_->OpenUpload(request.offer);
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_TRUE(client_->AbortUpload(again->upload_id).ok());
  EXPECT_TRUE(ShrinksTo(kBeside));
}

// A state of which a tenth of the bytes changes between two saves: a trained
// head over a frozen body.
TEST_F(Space, ASecondSaveSendsAndStoresOnlyWhatChanged) {
  const uint64_t total = Asked("CKPT_TEST_GIB") ? kGiB : 256 * kMiB;
  constexpr uint64_t kParts = 20;
  const uint64_t each = total / kParts / 4096 * 4096;
  auto state = [&](uint64_t version) {
    std::vector<Part> parts;
    for (uint64_t i = 0; i < kParts; ++i) {
      parts.push_back({fmt::format("layer{}", i), i < kParts - 2 ? i : i + 1000 * version, each});
    }
    return MakeShard(parts);
  };
  Proxy proxy(std::stoi(daemon_.address().substr(daemon_.address().rfind(':') + 1)));
  auto client = Connect(proxy.address());
  const uint64_t attempt = OpenAttempt(*client, kRun);
  Shard shard = state(0);
  const uint64_t whole = shard.bytes.size();
  ASSERT_TRUE(PushShard(*client, kRun, attempt, 1, shard).ok());
  const uint64_t sent_first = proxy.sent();
  const uint64_t disk_first = DiskBytes(daemon_.data_dir());
  EXPECT_GE(sent_first, whole);
  EXPECT_GE(disk_first, whole);

  shard = state(1);
  auto second = PushShard(*client, kRun, attempt, 2, shard);
  ASSERT_TRUE(second.ok()) << second.status();
  const uint64_t changed = 2 * each;
  const uint64_t sent = proxy.sent() - sent_first;
  const uint64_t stored = DiskBytes(daemon_.data_dir()) - disk_first;
  fmt::print("{} bytes, {} changed: sent {} ({:.2f} %), stored {} ({:.2f} %)\n", whole, changed,
             sent, 100.0 * static_cast<double>(sent) / static_cast<double>(whole), stored,
             100.0 * static_cast<double>(stored) / static_cast<double>(whole));
  EXPECT_EQ(second->sent_bytes, changed);
  EXPECT_GE(second->checkpoint->stored_bytes, changed);
  EXPECT_LE(second->checkpoint->stored_bytes, changed + changed / 100);
  EXPECT_GE(sent, changed);
  EXPECT_LE(sent, changed + changed / 100 + kMiB);
  EXPECT_GE(stored, changed);
  EXPECT_LE(stored, changed + changed / 50 + kMiB);
  EXPECT_EQ(FetchShard(*client, second->checkpoint->id), shard.bytes);
}

}  // namespace
}  // namespace ckpt::test
