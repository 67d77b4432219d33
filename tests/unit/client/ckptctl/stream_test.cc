#include "client/ckptctl/stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "proto/limits.h"
#include "tests/unit/client/ckptctl/memory_shard.h"

namespace ckpt::ctl {
namespace {

using ::testing::ElementsAre;

State SmallAndLarge() {
  State state;
  std::mt19937 random(1);  // NOLINT: the same bytes every time
  const auto bytes = [&](size_t n) {
    std::string text(n, '\0');
    for (char& c : text) c = static_cast<char>(random());
    return text;
  };
  state.AddBytes("tiny", bytes(3));
  state.AddBytes("large", bytes(2 * kMaxChunkBytes + 12345));
  state.AddBytes("empty", "");
  state.AddBytes("small", bytes(1000));
  state.AddBytes("exact", bytes(kMaxChunkBytes));
  return state;
}

std::map<std::string, std::string> Stream(const MemoryShard& shard, std::vector<size_t> entries) {
  std::map<std::string, std::string> out;
  const EntrySplitter splitter(shard.manifest, std::move(entries));
  const std::vector<uint64_t> offsets = ChunkOffsets(shard.manifest);
  for (uint32_t chunk : splitter.Chunks()) {
    const std::span<const char> all(shard.stream.data() + offsets[chunk],
                                    shard.manifest.chunks[chunk].length);
    const size_t cut = std::min<size_t>(all.size(), 7);
    const std::span<const std::byte> parts[] = {std::as_bytes(all.first(cut)),
                                                std::as_bytes(all.subspan(cut))};
    EXPECT_TRUE(splitter
                    .Chunk(chunk, parts,
                           [&](size_t i, uint64_t offset, std::span<const std::byte> bytes) {
                             std::string& value = out[shard.manifest.entries[i].name];
                             EXPECT_EQ(value.size(), offset) << "in order";
                             value.append(reinterpret_cast<const char*>(bytes.data()),
                                          bytes.size());
                             return absl::OkStatus();
                           })
                    .ok());
  }
  return out;
}

TEST(EntrySplitter, GivesEveryEntryItsBytesInOrder) {
  const MemoryShard shard(SmallAndLarge());
  const auto values = Stream(shard, AllEntries(shard.manifest));
  EXPECT_EQ(values.size(), 4u) << "all but the empty one";
  for (const auto& [name, value] : values) EXPECT_EQ(value, shard.Value(name)) << name;
}

TEST(EntrySplitter, TouchesOnlyTheChunksOfWhatIsWanted) {
  const MemoryShard shard(SmallAndLarge());
  const EntrySplitter splitter(shard.manifest, {4});
  EXPECT_EQ(splitter.Chunks().size(), 1u);
  const auto values = Stream(shard, {4});
  EXPECT_EQ(values.size(), 1u);
  EXPECT_EQ(values.at("exact"), shard.Value("exact"));
}

TEST(MatchEntries, TakesShellPatternsThatReachOverSlashes) {
  Manifest manifest;
  for (const char* name : {"model/a.weight", "model/a.bias", "optimizer/state/0/step", "epoch"}) {
    manifest.entries.push_back({.name = name});
  }
  EXPECT_THAT(*MatchEntries(manifest, {"model/*"}), ElementsAre(0, 1));
  EXPECT_THAT(*MatchEntries(manifest, {"*step", "epoch"}), ElementsAre(2, 3));
  EXPECT_THAT(*MatchEntries(manifest, {"*.weight", "model/*"}), ElementsAre(0, 1));
  const auto none = MatchEntries(manifest, {"model/*", "modle/*"});
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(none.status().message()), ::testing::HasSubstr("'modle/*'"));
}

}  // namespace
}  // namespace ckpt::ctl
