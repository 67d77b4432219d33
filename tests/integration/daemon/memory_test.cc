// Many workers fetch at once and shards larger than memory are pushed: the
// daemon's memory stays bounded. CKPT_TEST_FULL=1 for 1 GiB by 16 and 4 GiB.
#include <chrono>
#include <cstring>

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "client/download.h"
#include "tests/integration/daemon/harness.h"
#include "tests/integration/daemon/wire.h"
#include "tests/testing/programs.h"
#include "tests/testing/sanitizers.h"

namespace ckpt::test {
namespace {

const RunName kRun{"default", "memory"};
constexpr uint64_t kLimit = 512 * kMiB;
constexpr int kWorkers = 16;

class DaemonMemory : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "a sanitizer's own memory would be measured";
    ASSERT_TRUE(daemon_.Start());
    client_ = Connect(daemon_.address());
    attempt_ = OpenAttempt(*client_, kRun);
  }
  void ExpectBounded(const std::string& what, uint64_t bytes, absl::Time since) {
    const Memory memory = MemoryOf(daemon_.process().pid());
    const double seconds = absl::ToDoubleSeconds(absl::Now() - since);
    fmt::print("{}: daemon peak {} MiB, now {} MiB, {:.1f} s, {:.2f} GB/s\n", what,
               memory.peak / kMiB, memory.now / kMiB, seconds,
               static_cast<double>(bytes) / seconds / 1e9);
    EXPECT_LT(memory.peak, kLimit) << what;
    EXPECT_LT(memory.now, kLimit) << what;
    EXPECT_GT(memory.now, 0u) << what;
  }

  ckptd::os::TempDir dir_;
  Daemon daemon_{kCkptd, dir_ / "data"};
  std::unique_ptr<Client> client_;
  uint64_t attempt_ = 0;
};

// Fetches over a connection of its own; every byte is compared with `shard`.
absl::Status FetchAndCompare(const std::string& address, uint64_t id, const Shard& shard) {
  auto client = Connect(address);
  ASSIGN_OR_RETURN(Manifest manifest, client->GetManifest(id, 0));
  if (manifest != shard.manifest) return absl::DataLossError("another manifest");
  uint64_t position = 0;
  RETURN_IF_ERROR(
      Fetch(*client, {id, 0, &manifest, AllChunks(manifest)}, [&](uint32_t, ChunkParts parts) {
        for (const auto& part : parts) {
          if (std::memcmp(part.data(), shard.bytes.data() + position, part.size()) != 0) {
            return absl::DataLossError("other bytes");
          }
          position += part.size();
        }
        return absl::OkStatus();
      }));
  return position == shard.bytes.size() ? absl::OkStatus() : absl::DataLossError("bytes missing");
}

TEST_F(DaemonMemory, StaysBoundedWhileSixteenWorkersFetchTheSameCheckpoint) {
  const Shard shard = MakeShard(1, Asked("CKPT_TEST_FULL") ? kGiB : 256 * kMiB);
  absl::Time since = absl::Now();
  auto pushed = PushShard(*client_, kRun, attempt_, 1, shard);
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  ExpectBounded("push from memory", shard.bytes.size(), since);

  since = absl::Now();
  std::vector<absl::Status> results(kWorkers);
  std::vector<std::thread> workers;
  for (absl::Status& result : results) {
    workers.emplace_back(
        [&] { result = FetchAndCompare(daemon_.address(), pushed->checkpoint->id, shard); });
  }
  for (std::thread& worker : workers) worker.join();
  for (const absl::Status& result : results) EXPECT_TRUE(result.ok()) << result;
  ExpectBounded("fetch by 16", kWorkers * shard.bytes.size(), since);
}

TEST_F(DaemonMemory, StaysBoundedWhileAShardLargerThanItIsPushed) {
  const uint64_t bytes = Asked("CKPT_TEST_FULL") ? 4 * kGiB : kGiB;
  const Manifest manifest = MakeManifest(2, bytes);
  const absl::Time since = absl::Now();
  PushRequest request;
  request.offer = {.run = kRun, .attempt = attempt_, .step = 1, .manifest = &manifest};
  request.source = ReadRandom(2);
  auto pushed = Push(*client_, request);
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(pushed->checkpoint->bytes, bytes);
  ExpectBounded("push larger than memory", bytes, since);
  const absl::Time verifying = absl::Now();
  auto verified = client_->Verify(kRun, pushed->checkpoint->id, nullptr);
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_TRUE(verified->damages.empty());
  ExpectBounded("verify", bytes, verifying);
}

// All ranks of a large job save at the same moment.
TEST_F(DaemonMemory, StaysBoundedWhileSixteenRanksPushAtOnce) {
  const uint64_t bytes = Asked("CKPT_TEST_FULL") ? 256 * kMiB : 64 * kMiB;
  const uint64_t attempt = OpenAttempt(*client_, kRun, kWorkers);
  const absl::Time since = absl::Now();
  std::vector<absl::Status> results(kWorkers);
  std::vector<std::thread> workers;
  for (uint32_t rank = 0; rank < kWorkers; ++rank) {
    workers.emplace_back([&, rank] {
      auto client = Connect(daemon_.address());
      const Manifest manifest = MakeManifest(10 + rank, bytes);
      PushRequest request;
      request.offer = {
          .run = kRun, .attempt = attempt, .step = 1, .rank = rank, .manifest = &manifest};
      request.source = ReadRandom(10 + rank);
      results[rank] = Push(*client, request).status();
    });
  }
  for (std::thread& worker : workers) worker.join();
  for (const absl::Status& result : results) EXPECT_TRUE(result.ok()) << result;
  EXPECT_EQ(client_->ListCheckpoints(kRun)->size(), 1u);
  ExpectBounded("push by 16", kWorkers * bytes, since);
}

// What a request takes is bounded by the shard, not by how often it names a part of it.
TEST_F(DaemonMemory, StaysBoundedWhenARequestNamesAnEntryAgainAndAgain) {
  constexpr uint32_t kChunks = 4096, kLength = 64;
  Shard shard;
  shard.bytes.resize(kChunks * kLength);
  FillRandom(3, 0, shard.bytes);
  shard.manifest.entries = {{.name = "w",
                             .dtype = DType::kU8,
                             .shape = {kChunks * kLength},
                             .length = kChunks * kLength}};
  for (uint32_t i = 0; i < kChunks; ++i) {
    shard.manifest.chunks.push_back({HashBytes(&shard.bytes[i * kLength], kLength), kLength});
  }
  auto pushed = PushShard(*client_, kRun, attempt_, 1, shard);
  ASSERT_TRUE(pushed.ok()) << pushed.status();

  v1::FetchChunksRequest request;
  request.set_checkpoint_id(pushed->checkpoint->id);
  for (int i = 0; i < 100'000; ++i) request.add_entries("w");
  const absl::Time since = absl::Now();
  const Reply reply = CallRaw(RawChannel(daemon_.address()), FullName("FetchChunks"),
                              {request.SerializeAsString()});
  ASSERT_TRUE(reply.status.ok()) << reply.status;
  EXPECT_EQ(reply.messages.size(), kChunks + 1);  // and the one that ends it
  ExpectBounded("an entry named again and again", request.ByteSizeLong(), since);
}

}  // namespace
}  // namespace ckpt::test
