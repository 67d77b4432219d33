#include "client/staging.h"

#include <cstring>

#include <gtest/gtest.h>

#include "proto/chunking.h"
#include "proto/limits.h"

namespace ckpt {
namespace {

Entry Bytes(std::string name, uint64_t length) {
  return {.name = std::move(name), .length = length};
}

void Fill(Staging& staging, uint8_t seed) {
  for (size_t i = 0; i < staging.entries().size(); ++i) {
    const auto into = staging.entry(i);
    if (!into.empty()) std::memset(into.data(), seed + static_cast<int>(i), into.size());
  }
}

TEST(Staging, LaysEntriesOutAndHashesThem) {
  Staging staging;
  ASSERT_TRUE(staging
                  .Prepare({Bytes("small", 5), Bytes("big", kMaxChunkBytes + 3), Bytes("none", 0),
                            Bytes("tail", 7)})
                  .ok());
  Fill(staging, 1);
  const Manifest& manifest = staging.Hash(3);
  EXPECT_TRUE(CheckManifest(manifest).ok()) << CheckManifest(manifest);
  ASSERT_EQ(manifest.bytes(), staging.bytes().size());
  const std::vector<uint64_t> offsets = ChunkOffsets(manifest);
  for (size_t i = 0; i < manifest.chunks.size(); ++i) {
    EXPECT_EQ(manifest.chunks[i].digest,
              HashBytes(staging.bytes().data() + offsets[i], manifest.chunks[i].length))
        << i;
  }
  const Entry& big = *manifest.Find("big");
  EXPECT_EQ(static_cast<int>(staging.bytes()[big.offset]), 2);
  EXPECT_EQ(static_cast<int>(staging.bytes()[big.offset + big.length - 1]), 2);
}

TEST(Staging, ASmallerSaveAfterALargerOneHasItsOwnDigests) {
  const std::vector<Entry> entries = {Bytes("a", 3), Bytes("b", 3), Bytes("c", 300'000)};
  Staging fresh, reused;
  ASSERT_TRUE(fresh.Prepare(entries).ok());
  Fill(fresh, 1);
  ASSERT_TRUE(reused.Prepare({Bytes("x", 9 << 20)}).ok());
  Fill(reused, 0xAB);
  reused.Hash();
  const std::byte* before = reused.bytes().data();
  ASSERT_TRUE(reused.Prepare(entries).ok());
  Fill(reused, 1);
  EXPECT_EQ(reused.bytes().data(), before);  // the same memory
  EXPECT_EQ(reused.Hash(), fresh.Hash());    // what lies between entries is zero again
}

TEST(Staging, MemoryIsPageAligned) {
  Staging staging;
  ASSERT_TRUE(staging.Prepare({Bytes("a", 1)}).ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(staging.bytes().data()) % 4096, 0u);
}

TEST(Staging, ReservedMemoryIsWhatASaveUses) {
  Staging staging;
  ASSERT_TRUE(staging.Reserve(20 << 20).ok());
  const std::atomic<bool> go_on{false};
  staging.FaultIn(go_on);
  ASSERT_TRUE(staging.Prepare({Bytes("a", 9 << 20)}).ok());
  const std::byte* reserved = staging.bytes().data();
  ASSERT_TRUE(staging.Prepare({Bytes("a", 20 << 20)}).ok());
  EXPECT_EQ(staging.bytes().data(), reserved);
}

TEST(Staging, ToldToStopItFaultsNothingIn) {
  Staging staging;
  ASSERT_TRUE(staging.Reserve(20 << 20).ok());
  const std::atomic<bool> stop{true};
  staging.FaultIn(stop);
  ASSERT_TRUE(staging.Prepare({Bytes("a", 20 << 20)}).ok());
  Fill(staging, 1);
  EXPECT_EQ(staging.bytes().back(), std::byte{1});
}

TEST(Staging, AReserveThatCannotBeSaysSo) {
  Staging staging;
  EXPECT_EQ(staging.Reserve(size_t{1} << 60).code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(staging.Prepare({Bytes("a", 5)}).ok());
}

TEST(Staging, GrownMemoryHoldsTheLargerSave) {
  Staging grown, fresh;
  const std::vector<Entry> entries = {Bytes("a", 3), Bytes("b", 30 << 20), Bytes("c", 5)};
  ASSERT_TRUE(grown.Prepare({Bytes("x", 3 << 20)}).ok());
  Fill(grown, 0xAB);
  ASSERT_TRUE(grown.Prepare(entries).ok());
  Fill(grown, 1);
  ASSERT_TRUE(fresh.Prepare(entries).ok());
  Fill(fresh, 1);
  EXPECT_EQ(grown.Hash(), fresh.Hash());
}

TEST(Staging, AnEmptyStateIsAnEmptyManifest) {
  Staging staging;
  ASSERT_TRUE(staging.Prepare({}).ok());
  EXPECT_TRUE(staging.bytes().empty());
  EXPECT_TRUE(staging.Hash(4).chunks.empty());
  ASSERT_TRUE(staging.Prepare({Bytes("none", 0)}).ok());
  EXPECT_TRUE(staging.entry(0).empty());
}

TEST(Staging, RefusesWhatNoManifestMayHold) {
  Staging staging;
  const std::vector<std::vector<Entry>> kCases = {
      {Bytes("a", 1), Bytes("a", 1)},
      {Bytes("", 1)},
      {Bytes("a\nb", 1)},
      {{.name = "t", .dtype = DType::kF32, .shape = {2}, .length = 7}},
      {{.name = "t", .dtype = DType::kF32, .shape = {-1}, .length = 4}},
  };
  for (size_t i = 0; i < kCases.size(); ++i) {
    EXPECT_EQ(staging.Prepare(kCases[i]).code(), absl::StatusCode::kInvalidArgument) << i;
  }
}

}  // namespace
}  // namespace ckpt
