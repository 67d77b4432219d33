#include "tests/unit/daemon/chunks/chunk_store_suite.h"

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/daemon/chunks/written.h"

namespace ckptd {
namespace {

TEST_P(ChunkStoreSuite, WhatIsAppendedIsReadBack) {
  auto writer = MustCreate(store(), 1);
  std::vector<Written> all;
  for (const size_t size : {1u, 63u, 4031u, 4032u, 4033u, 4096u, 8128u, 262144u, 1000003u,
                            ckpt::kMaxChunkBytes - 1, ckpt::kMaxChunkBytes}) {
    all.push_back(MustAppend(*writer, RandomBytes(size, size)));
  }
  ASSERT_TRUE(writer->MakeDurable().ok());
  for (const Written& written : all) ExpectReadable(store(), written);  // the pack is still open
  writer.reset();
  Reopen();
  for (const Written& written : all) {
    ExpectReadable(store(), written);
    EXPECT_TRUE(store().Check(written.chunk.digest, written.chunk.location).ok());
  }
  EXPECT_TRUE(store().CheckHeader(1).ok());
  EXPECT_TRUE(absl::IsNotFound(store().CheckHeader(257)));
}

TEST_P(ChunkStoreSuite, PartsAreLaidOneAfterTheOther) {
  const std::vector<std::byte> bytes = RandomBytes(300000, 7);
  for (const size_t part_bytes : {1000u, 4096u, 65536u, 299999u}) {
    SCOPED_TRACE(part_bytes);
    auto writer = MustCreate(store(), part_bytes);
    std::vector<std::span<const std::byte>> parts(1);  // an empty one to begin with
    for (size_t at = 0; at < bytes.size(); at += part_bytes) {
      parts.push_back(std::span(bytes).subspan(at, std::min(part_bytes, bytes.size() - at)));
    }
    const auto location = writer->Append(DigestOf(bytes), parts);
    ASSERT_TRUE(location.ok()) << location.status();
    ASSERT_TRUE(writer->MakeDurable().ok());
    ExpectReadable(store(), {bytes, {DigestOf(bytes), *location}});
  }
}

TEST_P(ChunkStoreSuite, BytesThatAreNotTheDigestsAreRefusedAndTheWriterGoesOn) {
  auto writer = MustCreate(store(), 1);
  const uint64_t size = writer->size();
  const std::vector<std::byte> bytes = RandomBytes(5000, 1);
  const std::span<const std::byte> part = bytes;
  const auto refused = writer->Append(DigestOf(RandomBytes(5000, 2)), std::span(&part, 1));
  EXPECT_EQ(ckpt::ReasonOf(refused.status()), ckpt::reason::kDigestMismatch);
  EXPECT_EQ(writer->size(), size);
  const Written written = MustAppend(*writer, bytes);
  ASSERT_TRUE(writer->MakeDurable().ok());
  ExpectReadable(store(), written);
}

TEST_P(ChunkStoreSuite, APackMayHoldMoreOrLessThanExpected) {
  PackId id = 0;
  for (const uint64_t expected : {0, 4096, 40960, 1 << 20}) {
    SCOPED_TRACE(expected);
    auto writer = store().NewPack(++id, expected);
    ASSERT_TRUE(writer.ok()) << writer.status();
    std::vector<Written> all;
    for (uint64_t i = 0; i < 5; ++i) {
      all.push_back(MustAppend(**writer, RandomBytes(9000 + i, i)));
      if (i == 2) {
        EXPECT_TRUE((*writer)->MakeDurable().ok());
      }
    }
    ASSERT_TRUE((*writer)->AppendNote("a note").ok());
    ASSERT_TRUE((*writer)->MakeDurable().ok());
    EXPECT_EQ((*writer)->spare(), 0u);
    for (const Written& written : all) ExpectReadable(store(), written);
  }
  // What was taken from the disk and not used was given back.
  EXPECT_LE(store().GetUsage()->disk_bytes, 4 * (uint64_t{20} << 12));
}

TEST_P(ChunkStoreSuite, LocationsAreAlignedAndDoNotOverlap) {
  auto writer = MustCreate(store(), 1);
  uint64_t end = 0;
  for (uint32_t size = 1; size < 20000; size += 1777) {
    const ChunkLocation at = MustAppend(*writer, RandomBytes(size, size)).chunk.location;
    EXPECT_EQ(at.pack, writer->id());
    EXPECT_EQ(at.length, size);
    EXPECT_EQ(at.offset % 4096, 0u);
    EXPECT_EQ(at.extent % 4096, 0u);
    EXPECT_GT(at.extent, size);
    EXPECT_GE(at.offset, end);
    end = at.offset + at.extent;
  }
  EXPECT_EQ(writer->size(), end);
}

TEST_P(ChunkStoreSuite, AChunkOfNoOrTooManyBytesEndsTheWriter) {
  for (const size_t size : {size_t{0}, size_t{ckpt::kMaxChunkBytes} + 1}) {
    SCOPED_TRACE(size);
    auto writer = MustCreate(store(), 100 + size);
    const auto refused = AppendBytes(*writer, RandomBytes(size, 1));
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument) << refused.status();
    EXPECT_EQ(AppendBytes(*writer, RandomBytes(10, 1)).status(), refused.status());
    EXPECT_EQ(writer->AppendNote("note"), refused.status());
    EXPECT_EQ(writer->MakeDurable(), refused.status());
  }
}

TEST_P(ChunkStoreSuite, AnIdIsUsedOnce) {
  auto writer = MustCreate(store(), 5);
  const Written written = MustAppend(*writer, RandomBytes(5000, 1));
  EXPECT_FALSE(store().NewPack(5).ok());
  ASSERT_TRUE(writer->MakeDurable().ok());
  ExpectReadable(store(), written);
}

TEST_P(ChunkStoreSuite, AReadThatNamesAnotherRecordFindsDamage) {
  auto writer = MustCreate(store(), 1);
  const Written first = MustAppend(*writer, RandomBytes(5000, 1));
  const Written second = MustAppend(*writer, RandomBytes(5000, 2));
  ASSERT_TRUE(writer->AppendNote("a note").ok());
  ASSERT_TRUE(writer->MakeDurable().ok());
  const struct {
    const char* what;
    std::function<void(StoredChunk&)> change;
  } kCases[] = {
      {"digest", [&](StoredChunk& c) { c.digest = second.chunk.digest; }},
      {"offset of another",
       [&](StoredChunk& c) { c.location.offset = second.chunk.location.offset; }},
      {"offset within", [](StoredChunk& c) { c.location.offset += 4096; }},
      {"offset of the note",
       [&](StoredChunk& c) {
         c.location.offset = second.chunk.location.offset + second.chunk.location.extent;
       }},
      {"offset past the end", [](StoredChunk& c) { c.location.offset = 1 << 30; }},
      {"shorter", [](StoredChunk& c) { c.location.length -= 1; }},
      {"longer", [](StoredChunk& c) { c.location.length += 1; }},
      {"pack that is not there", [](StoredChunk& c) { c.location.pack = 257; }},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.what);
    StoredChunk chunk = first.chunk;
    test.change(chunk);
    ExpectDamaged(ReadBack(store(), chunk, nullptr, /*verify=*/false));
    ExpectDamaged(store().Check(chunk.digest, chunk.location));
  }
}

TEST_P(ChunkStoreSuite, ManyThreadsAppendToOnePack) {
  auto writer = MustCreate(store(), 1);
  std::vector<std::vector<Written>> all(8);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < all.size(); ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 20; ++i) {
        all[t].push_back(
            MustAppend(*writer, RandomBytes(1 + (t * 7919 + i * 104729) % 300000, t * 1000 + i)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(writer->MakeDurable().ok());
  for (const auto& some : all) {
    for (const Written& written : some) ExpectReadable(store(), written);
  }
}

TEST_P(ChunkStoreSuite, ManyPacksAreWrittenAndReadAtOnce) {
  std::vector<std::thread> threads;
  for (PackId id = 1; id <= 40; ++id) {
    threads.emplace_back([this, id] {
      auto writer = MustCreate(store(), id);
      std::vector<Written> all;
      for (size_t i = 0; i < 4; ++i) {
        all.push_back(MustAppend(*writer, RandomBytes(100000 + i, id * 100 + i)));
      }
      EXPECT_TRUE(writer->MakeDurable().ok());
      for (const Written& written : all) ExpectReadable(store(), written);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto packs = store().ListPacks();
  ASSERT_TRUE(packs.ok()) << packs.status();
  EXPECT_EQ(packs->size(), 40u);
}

TEST_P(ChunkStoreSuite, MakeDurableMayComeAgainAndBetweenAppends) {
  auto writer = MustCreate(store(), 1);
  EXPECT_TRUE(writer->MakeDurable().ok());  // an empty pack
  const Written first = MustAppend(*writer, RandomBytes(5000, 1));
  EXPECT_TRUE(writer->MakeDurable().ok());
  EXPECT_TRUE(writer->MakeDurable().ok());
  const Written second = MustAppend(*writer, RandomBytes(5000, 2));
  EXPECT_TRUE(writer->MakeDurable().ok());
  ExpectReadable(store(), first);
  ExpectReadable(store(), second);
}

TEST_P(ChunkStoreSuite, APunchTakesOneRecordAndMayComeAgain) {
  auto writer = MustCreate(store(), 1);
  std::vector<Written> all;
  for (uint64_t i = 0; i < 3; ++i) all.push_back(MustAppend(*writer, RandomBytes(50000, i)));
  ASSERT_TRUE(writer->MakeDurable().ok());
  ExpectReadable(store(), all[1]);  // so that it may be in memory
  EXPECT_TRUE(store().Punch(all[1].chunk.location).ok());
  EXPECT_TRUE(store().Punch(all[1].chunk.location).ok());
  ExpectReadable(store(), all[0]);
  ExpectReadable(store(), all[2]);

  ChunkLocation gone = all[0].chunk.location;
  gone.pack = 99;
  EXPECT_TRUE(store().Punch(gone).ok());
}

TEST_P(ChunkStoreSuite, WhatIsNoRecordIsNotPunched) {
  auto writer = MustCreate(store(), 1);
  const Written written = MustAppend(*writer, RandomBytes(50000, 1));
  const Written next = MustAppend(*writer, RandomBytes(50000, 2));
  ASSERT_TRUE(writer->MakeDurable().ok());
  ChunkLocation wrong = written.chunk.location;
  wrong.extent += 4096;
  EXPECT_FALSE(store().Punch(wrong).ok());
  wrong = written.chunk.location;
  wrong.offset += 64;
  EXPECT_FALSE(store().Punch(wrong).ok());
  wrong = written.chunk.location;
  wrong.offset = 0;
  EXPECT_FALSE(store().Punch(wrong).ok());
  ExpectReadable(store(), written);
  ExpectReadable(store(), next);
}

TEST_P(ChunkStoreSuite, ARemovedPackIsGoneAndMayBeRemovedAgain) {
  for (const PackId id : {PackId{1}, PackId{256}, PackId{0xffffffffffffffff}}) {
    auto writer = MustCreate(store(), id);
    MustAppend(*writer, RandomBytes(5000, id));
    ASSERT_TRUE(writer->MakeDurable().ok());
  }
  auto packs = store().ListPacks();
  ASSERT_TRUE(packs.ok()) << packs.status();
  EXPECT_THAT(*packs, ::testing::UnorderedElementsAre(1, 256, 0xffffffffffffffff));

  EXPECT_TRUE(store().RemovePack(256).ok());
  EXPECT_TRUE(store().RemovePack(256).ok());
  EXPECT_TRUE(store().RemovePack(77).ok());
  packs = store().ListPacks();
  ASSERT_TRUE(packs.ok()) << packs.status();
  EXPECT_THAT(*packs, ::testing::UnorderedElementsAre(1, 0xffffffffffffffff));
  EXPECT_EQ(store().RecoverPack(256).status().code(), absl::StatusCode::kNotFound);
}

TEST_P(ChunkStoreSuite, RecoveryGivesChunksAndNotesOfAnUnfinishedPack) {
  std::vector<Written> all;
  const std::string long_note(9 << 20, 'n');  // more than any buffer
  {
    auto writer = MustCreate(store(), 1);
    for (uint64_t i = 0; i < 5; ++i) {
      all.push_back(MustAppend(*writer, RandomBytes(1 + i * 70000, i)));
      if (i == 1) {
        ASSERT_TRUE(writer->AppendNote("what this is for").ok());
      }
      if (i == 3) {
        ASSERT_TRUE(writer->AppendNote("").ok());
      }
    }
    ASSERT_TRUE(writer->AppendNote(long_note).ok());
  }
  Reopen();
  for (int time = 1; time <= 2; ++time) {  // recovery itself may be cut off and repeated
    SCOPED_TRACE(time);
    const auto pack = store().RecoverPack(1);
    ASSERT_TRUE(pack.ok()) << pack.status();
    EXPECT_EQ(pack->cut_bytes, 0u);
    EXPECT_TRUE(pack->notes == (std::vector<std::string>{"what this is for", "", long_note}));
    ASSERT_EQ(pack->chunks.size(), all.size());
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(pack->chunks[i].digest, all[i].chunk.digest);
      EXPECT_EQ(pack->chunks[i].location, all[i].chunk.location);
      ExpectReadable(store(), all[i]);
    }
  }
}

TEST_P(ChunkStoreSuite, UsageFollowsWhatIsStored) {
  const auto before = store().GetUsage();
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_GT(before->free_bytes, 0u);
  auto writer = MustCreate(store(), 1);
  MustAppend(*writer, RandomBytes(1 << 20, 1));
  ASSERT_TRUE(writer->MakeDurable().ok());
  writer.reset();
  const auto stored = store().GetUsage();
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_GE(stored->disk_bytes, before->disk_bytes + (1 << 20));

  Reopen();
  const auto reopened = store().GetUsage();
  ASSERT_TRUE(reopened.ok()) << reopened.status();
  EXPECT_EQ(reopened->disk_bytes, stored->disk_bytes);
  ASSERT_TRUE(store().RemovePack(1).ok());
  const auto removed = store().GetUsage();
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_EQ(removed->disk_bytes, before->disk_bytes);
}

TEST_P(ChunkStoreSuite, APrefetchOfAnythingIsHarmless) {
  auto writer = MustCreate(store(), 1);
  const Written written = MustAppend(*writer, RandomBytes(3 << 20, 1));
  ASSERT_TRUE(writer->MakeDurable().ok());
  ChunkLocation gone = written.chunk.location;
  gone.pack = 99;
  const ChunkLocation locations[] = {written.chunk.location, gone};
  store().Prefetch(locations);
  ExpectReadable(store(), written);
}

}  // namespace
}  // namespace ckptd
