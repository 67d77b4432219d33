#include "proto/chunking.h"

#include <functional>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/limits.h"

namespace ckpt {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;

constexpr uint64_t kSmall = kSmallEntryBytes;
constexpr uint64_t kMax = kMaxChunkBytes;

Entry Bytes(std::string name, uint64_t length) {
  Entry entry;
  entry.name = std::move(name);
  entry.length = length;
  return entry;
}

std::vector<Entry> Entries(const std::vector<uint64_t>& lengths) {
  std::vector<Entry> entries;
  for (uint64_t length : lengths) entries.push_back(Bytes(std::to_string(entries.size()), length));
  return entries;
}

// A manifest of the entries as laid out, with a digest of its own for every chunk.
Manifest ManifestOf(std::vector<Entry> entries) {
  Manifest manifest;
  for (uint32_t length : LayOut(entries)) {
    manifest.chunks.push_back({HashBytes(std::to_string(manifest.chunks.size())), length});
  }
  manifest.entries = std::move(entries);
  return manifest;
}

TEST(LayOut, PutsSmallOnesTogetherAndLargeOnesApart) {
  struct Case {
    const char* says;
    std::vector<uint64_t> lengths;
    std::vector<uint64_t> offsets;
    std::vector<uint32_t> chunks;
  };
  const uint32_t small = kSmall, max = kMax;
  for (const Case& c : {
           Case{"nothing", {}, {}, {}},
           Case{"an empty entry", {0}, {0}, {}},
           Case{"one byte", {1}, {0}, {1}},
           Case{"small ones share, each at a multiple of 16", {10, 4, 20}, {0, 16, 32}, {52}},
           Case{"an empty one between", {16, 0, 16}, {0, 16, 16}, {32}},
           Case{"just large enough for a chunk of its own", {kSmall}, {0}, {small}},
           Case{"just too small", {kSmall - 1, 1}, {0, kSmall}, {small + 1}},
           Case{"a large one between two small ones",
                {10, kSmall, 10},
                {0, 10, 10 + kSmall},
                {10, small, 10}},
           Case{"exactly a chunk", {kMax}, {0}, {max}},
           Case{"a byte more", {kMax + 1}, {0}, {max, 1}},
           Case{"two large ones share nothing", {kMax + 5, kMax}, {0, kMax + 5}, {max, 5, max}},
           Case{"a shared chunk that is full begins another",
                std::vector<uint64_t>(17, kSmall - 16),
                {0, 262128, 524256, 786384, 1048512, 1310640, 1572768, 1834896, 2097024, 2359152,
                 2621280, 2883408, 3145536, 3407664, 3669792, 3931920, 4194048},
                {16 * (small - 16), small - 16}},
       }) {
    std::vector<Entry> entries = Entries(c.lengths);
    EXPECT_THAT(LayOut(entries), ElementsAreArray(c.chunks)) << c.says;
    std::vector<uint64_t> offsets;
    for (const Entry& entry : entries) offsets.push_back(entry.offset);
    EXPECT_THAT(offsets, ElementsAreArray(c.offsets)) << c.says;
  }
}

TEST(LayOut, AlwaysAddsUp) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<uint64_t> lengths(random() % 60);
    for (uint64_t& length : lengths) {
      constexpr uint64_t kScales[] = {1, 64, kSmall + 2, 3 * kMax};
      length = random() % kScales[random() % 4];
    }

    const Manifest manifest = ManifestOf(Entries(lengths));

    const absl::Status status = CheckManifest(manifest);
    ASSERT_TRUE(status.ok()) << "seed " << seed << ": " << status;
    uint64_t sum = 0, padding = 0;
    for (uint64_t length : lengths) sum += length, padding += 15;
    EXPECT_GE(manifest.bytes(), sum) << "seed " << seed;
    EXPECT_LE(manifest.bytes(), sum + padding) << "seed " << seed;
    // A large entry fills its chunks alone, so it keeps its digests.
    const std::vector<uint64_t> offsets = ChunkOffsets(manifest);
    for (const Entry& entry : manifest.entries) {
      if (entry.length < kSmall) continue;
      const ChunkSpan span = ChunksOf(offsets, entry.offset, entry.offset + entry.length);
      EXPECT_EQ(offsets[span.first], entry.offset) << "seed " << seed;
      EXPECT_EQ(offsets[span.last], entry.offset + entry.length) << "seed " << seed;
    }
  }
}

TEST(TensorBytes, MultipliesOrRefuses) {
  struct Case {
    DType dtype;
    std::vector<int64_t> shape;
    std::optional<uint64_t> bytes;
  };
  const int64_t huge = INT64_MAX;
  for (const Case& c : {
           Case{DType::kF32, {}, 4},
           Case{DType::kF32, {10, 2}, 80},
           Case{DType::kBF16, {3}, 6},
           Case{DType::kC128, {2, 2}, 64},
           Case{DType::kBool, {7}, 7},
           Case{DType::kF32, {5, 0, 3}, 0},
           Case{DType::kF32, {huge, 0, huge}, 0},
           Case{DType::kU8, {huge}, static_cast<uint64_t>(huge)},
           Case{DType::kF32, {-1}, std::nullopt},
           Case{DType::kF32, {0, -1}, std::nullopt},
           Case{DType::kF32, {huge}, std::nullopt},
           Case{DType::kU8, {huge, huge}, std::nullopt},
           Case{DType::kU8, {int64_t{1} << 32, int64_t{1} << 32}, std::nullopt},
           Case{DType::kNone, {1}, std::nullopt},
           Case{static_cast<DType>(200), {1}, std::nullopt},
           Case{DType::kU8, std::vector<int64_t>(kMaxRank, 1), 1},
           Case{DType::kU8, std::vector<int64_t>(kMaxRank + 1, 1), std::nullopt},
       }) {
    const auto bytes = TensorBytes(c.dtype, c.shape);
    EXPECT_EQ(bytes.ok(), c.bytes.has_value()) << testing::PrintToString(c.shape);
    if (bytes.ok() && c.bytes) {
      EXPECT_EQ(*bytes, *c.bytes) << testing::PrintToString(c.shape);
    }
    if (!bytes.ok()) {
      EXPECT_EQ(bytes.status().code(), absl::StatusCode::kInvalidArgument);
    }
  }
}

// Entries "weight" (a 2x3 slice of 4x3, F32), "rng" (40 bytes), "table" (5 MiB).
Manifest GoodManifest() {
  Entry weight = Bytes("weight", 24);
  weight.dtype = DType::kF32;
  weight.shape = {2, 3};
  weight.global_shape = {4, 3};
  weight.global_offset = {2, 0};
  return ManifestOf({weight, Bytes("rng", 40), Bytes("table", 5 << 20)});
}

TEST(CheckManifest, TakesWhatAddsUp) {
  const auto scalar = [] {
    Entry entry = Bytes("step", 8);
    entry.dtype = DType::kI64;
    return ManifestOf({entry});
  };
  Manifest padded = GoodManifest();
  padded.chunks.push_back({HashBytes("padding"), 100});
  Manifest same_chunk_twice = ManifestOf({Bytes("a", 2 * kMax)});
  same_chunk_twice.chunks[1].digest = same_chunk_twice.chunks[0].digest;
  Manifest backwards = GoodManifest();
  std::swap(backwards.entries[0], backwards.entries[2]);

  for (const Manifest& manifest : {Manifest{}, GoodManifest(), scalar(), padded, same_chunk_twice,
                                   backwards, ManifestOf({Bytes("a", 0), Bytes("b", 0)})}) {
    const absl::Status status = CheckManifest(manifest);
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST(CheckManifest, NamesTheFieldThatDoesNotAddUp) {
  struct Case {
    const char* says;
    std::function<void(Manifest&)> spoil;
    const char* field;
  };
  for (const Case& c : {
           Case{"an entry past the end", [](Manifest& m) { m.entries[2].offset += 1; },
                "manifest.entries[2]"},
           Case{"an entry far past the end", [](Manifest& m) { m.entries[1].offset = UINT64_MAX; },
                "manifest.entries[1]"},
           Case{"offset and length that wrap around",
                [](Manifest& m) {
                  m.entries[1].offset = 2;
                  m.entries[1].length = UINT64_MAX;
                },
                "manifest.entries[1]"},
           Case{"entries but no chunks", [](Manifest& m) { m.chunks.clear(); },
                "manifest.entries[0]"},
           Case{"two that overlap", [](Manifest& m) { m.entries[1].offset -= 9; },
                "manifest.entries"},
           Case{"two in the same place", [](Manifest& m) { m.entries[1].offset = 0; },
                "manifest.entries"},
           Case{"a length that the shape does not give",
                [](Manifest& m) { m.entries[0].length = 20; }, "manifest.entries[0].length"},
           Case{"a dtype that the length does not give",
                [](Manifest& m) { m.entries[0].dtype = DType::kF64; },
                "manifest.entries[0].length"},
           Case{"a dtype nobody knows",
                [](Manifest& m) { m.entries[0].dtype = static_cast<DType>(99); },
                "manifest.entries[0].dtype"},
           Case{"a negative dimension",
                [](Manifest& m) {
                  m.entries[0].shape = {-2, -3};
                },
                "manifest.entries[0].shape"},
           Case{"a shape that overflows",
                [](Manifest& m) {
                  m.entries[0].shape = {INT64_MAX, INT64_MAX};
                },
                "manifest.entries[0].shape"},
           Case{"too many dimensions",
                [](Manifest& m) { m.entries[0].shape.assign(kMaxRank + 1, 1); },
                "manifest.entries[0].shape"},
           Case{"a shape without a dtype", [](Manifest& m) { m.entries[1].shape = {40}; },
                "manifest.entries[1].shape"},
           Case{"opaque bytes as a slice", [](Manifest& m) { m.entries[1].global_shape = {80}; },
                "manifest.entries[1].shape"},
           Case{"a slice outside its whole",
                [](Manifest& m) {
                  m.entries[0].global_offset = {3, 0};
                },
                "manifest.entries[0].global_shape"},
           Case{"a slice before its whole",
                [](Manifest& m) {
                  m.entries[0].global_offset = {-1, 0};
                },
                "manifest.entries[0].global_shape"},
           Case{"a slice whose offset overflows",
                [](Manifest& m) {
                  m.entries[0].global_offset = {INT64_MAX, 0};
                },
                "manifest.entries[0].global_shape"},
           Case{"a whole smaller than its slice",
                [](Manifest& m) {
                  m.entries[0].global_shape = {1, 3};
                },
                "manifest.entries[0].global_shape"},
           Case{"a slice of other rank", [](Manifest& m) { m.entries[0].global_shape = {12}; },
                "manifest.entries[0].global_shape"},
           Case{"a slice without offset", [](Manifest& m) { m.entries[0].global_offset.clear(); },
                "manifest.entries[0].global_shape"},
           Case{"a name twice", [](Manifest& m) { m.entries[1].name = "weight"; },
                "manifest.entries[1].name"},
           Case{"an empty name", [](Manifest& m) { m.entries[1].name.clear(); },
                "manifest.entries[1].name"},
           Case{"a name of 10 kB", [](Manifest& m) { m.entries[1].name.assign(10000, 'x'); },
                "manifest.entries[1].name"},
           Case{"a control character in a name", [](Manifest& m) { m.entries[1].name = "a\nb"; },
                "manifest.entries[1].name"},
           Case{"an empty chunk", [](Manifest& m) { m.chunks[0].length = 0; },
                "manifest.chunks[0].length"},
           Case{"a chunk too long", [](Manifest& m) { m.chunks[1].length = kMaxChunkBytes + 1; },
                "manifest.chunks[1].length"},
           Case{"a chunk far too long", [](Manifest& m) { m.chunks[1].length = UINT32_MAX; },
                "manifest.chunks[1].length"},
           Case{"one digest with two lengths",
                [](Manifest& m) { m.chunks[2].digest = m.chunks[0].digest; },
                "manifest.chunks[2].length"},
           Case{"too many chunks",
                [](Manifest& m) {
                  m.chunks.assign(kMaxChunks + 1, {HashBytes("x"), 1});
                },
                "manifest.chunks"},
           Case{"too many entries", [](Manifest& m) { m.entries.resize(kMaxEntries + 1); },
                "manifest.entries"},
       }) {
    Manifest manifest = GoodManifest();
    c.spoil(manifest);

    const absl::Status status = CheckManifest(manifest);

    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.says;
    EXPECT_EQ(ReasonOf(status), reason::kBadManifest) << c.says;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(c.field) + ": ")) << c.says;
    EXPECT_LT(status.message().size(), 500u) << c.says;
  }
}

TEST(ChunksOf, FindsTheChunksOfARange) {
  Manifest manifest;
  for (uint32_t length : {10, 20, 30}) manifest.chunks.push_back({HashBytes("x"), length});
  const std::vector<uint64_t> offsets = ChunkOffsets(manifest);
  ASSERT_THAT(offsets, ElementsAreArray({0, 10, 30, 60}));
  struct Case {
    uint64_t begin, end;
    uint32_t first, last;
  };
  for (const Case& c : {Case{0, 60, 0, 3}, Case{0, 1, 0, 1}, Case{9, 10, 0, 1}, Case{9, 11, 0, 2},
                        Case{10, 30, 1, 2}, Case{29, 31, 1, 3}, Case{59, 60, 2, 3}}) {
    const ChunkSpan span = ChunksOf(offsets, c.begin, c.end);
    EXPECT_EQ(span.first, c.first) << c.begin << " to " << c.end;
    EXPECT_EQ(span.last, c.last) << c.begin << " to " << c.end;
  }
  const ChunkSpan empty = ChunksOf(offsets, 10, 10);
  EXPECT_EQ(empty.first, empty.last);
}

}  // namespace
}  // namespace ckpt
