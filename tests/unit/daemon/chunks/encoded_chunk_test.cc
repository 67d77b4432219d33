// Chunks that lie in packs encoded, alone and as differences, read back as they
// came, and say so where they cannot.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>

#include "daemon/chunks/codec.h"
#include "daemon/chunks/layout.h"
#include "daemon/chunks/pack_store.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/daemon/chunks/written.h"

namespace ckptd {
namespace {

constexpr int kChunks = 5;

// Chunk 0 as it came in pack 1; the others in pack 2, each the difference to
// the one before but chunk 3, which has no base.
class EncodedChunkTest : public ::testing::Test {
 protected:
  EncodedChunkTest() {
    store_ = *OpenPackStore(fs_.get(), dir_.path());
    std::mt19937_64 random(1);
    std::normal_distribution<float> weight(0, 0.02f), step(0, 1e-4f);
    std::vector<float> values(20000);
    for (float& value : values) value = weight(random);
    auto raw = MustCreate(*store_, 1), packed = MustCreate(*store_, 2);
    for (int i = 0; i < kChunks; ++i) {
      std::vector<std::byte> bytes(values.size() * sizeof(float));
      std::memcpy(bytes.data(), values.data(), bytes.size());
      chunks_.push_back(i == 0 ? MustAppend(*raw, bytes) : Encode(*packed, bytes, i != 3));
      for (float& value : values) value += step(random);
    }
    EXPECT_TRUE(packed->AppendNote("a note").ok());
    EXPECT_TRUE(raw->MakeDurable().ok());
    EXPECT_TRUE(packed->MakeDurable().ok());
  }

  Written Encode(PackWriter& writer, std::vector<std::byte> bytes, bool with_base) {
    std::optional<CodecBase> base;
    if (with_base) base = CodecBase{chunks_.back().chunk.digest, chunks_.back().bytes};
    const auto encoded = *EncodeChunk(DigestOf(bytes), bytes, base, {});
    EXPECT_EQ(DecodeHeader(encoded)->base.has_value(), with_base);
    ChunkLocation at = *writer.AppendEncoded(static_cast<uint32_t>(bytes.size()), encoded);
    EXPECT_EQ(at.encoded, encoded.size());
    EXPECT_EQ(at.length, bytes.size());
    EXPECT_LT(at.extent, bytes.size());
    if (with_base) at.base = std::make_shared<StoredChunk>(chunks_.back().chunk);
    const ckpt::Digest digest = DigestOf(bytes);
    return {std::move(bytes), {digest, at}};
  }
  // Changes a byte of the chunk's record, from its beginning on.
  void Flip(int chunk, uint64_t at) {
    const ChunkLocation& location = chunks_[static_cast<size_t>(chunk)].chunk.location;
    std::fstream file(Layout(dir_.path()).Pack(location.pack),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(location.offset + at));
    const int was = file.get();
    file.seekp(static_cast<std::streamoff>(location.offset + at));
    file.put(static_cast<char>(was ^ 0x11));
  }
  std::vector<int> Readable() {
    std::vector<int> readable;
    for (int i = 0; i < kChunks; ++i) {
      const Written& written = chunks_[static_cast<size_t>(i)];
      std::vector<std::byte> bytes;
      const absl::Status status = ReadBack(*store_, written.chunk, &bytes);
      if (status.ok()) {
        EXPECT_TRUE(bytes == written.bytes) << i;
        readable.push_back(i);
      } else {
        ExpectDamaged(status);
      }
    }
    return readable;
  }

  os::TempDir dir_;
  std::unique_ptr<os::FileSystem> fs_ = os::NewRealFileSystem();
  std::unique_ptr<ChunkStore> store_;
  std::vector<Written> chunks_;
};

TEST_F(EncodedChunkTest, AreReadBackAsTheyCame) {
  for (const Written& written : chunks_) ExpectReadable(*store_, written);
  store_.reset();
  store_ = *OpenPackStore(fs_.get(), dir_.path());
  for (const Written& written : chunks_) ExpectReadable(*store_, written);
}

TEST_F(EncodedChunkTest, DamageIsFoundInWhatIsReadAndInItsBases) {
  struct Case {
    int chunk;
    std::vector<int> readable;
  };
  for (const Case& c : std::vector<Case>{{0, {3, 4}}, {1, {0, 3, 4}}, {2, {0, 1, 3, 4}},
                                         {3, {0, 1, 2}}, {4, {0, 1, 2, 3}}}) {
    SCOPED_TRACE(c.chunk);
    for (const uint64_t at : {uint64_t{5}, uint64_t{20}, kRecordHeaderBytes + 3,
                              kRecordHeaderBytes + 40, kRecordHeaderBytes + 9000}) {
      Flip(c.chunk, at);
      EXPECT_EQ(Readable(), c.readable) << at;
      Flip(c.chunk, at);
    }
  }
  EXPECT_EQ(Readable().size(), size_t{kChunks});
}

TEST_F(EncodedChunkTest, ACheckIsOfTheRecordAloneAndReadsNoBase) {
  for (int damaged = 0; damaged < kChunks; ++damaged) {
    Flip(damaged, kRecordHeaderBytes + 40);
    for (int i = 0; i < kChunks; ++i) {
      const StoredChunk& chunk = chunks_[static_cast<size_t>(i)].chunk;
      const absl::Status status = store_->Check(chunk.digest, chunk.location);
      EXPECT_EQ(status.ok(), i != damaged) << i << " of " << damaged << ": " << status;
      if (i == damaged) ExpectDamaged(status);
    }
    Flip(damaged, kRecordHeaderBytes + 40);
  }
}

TEST_F(EncodedChunkTest, ALocationThatLiesIsDamage) {
  const StoredChunk& whole = chunks_[2].chunk;
  for (const auto& lie : std::vector<std::function<void(StoredChunk&)>>{
           [](StoredChunk& c) { c.location.base = nullptr; },
           [&](StoredChunk& c) {
             c.location.base = std::make_shared<StoredChunk>(chunks_[0].chunk);
           },
           [](StoredChunk& c) { c.location.encoded -= 1; },
           [](StoredChunk& c) { c.location.encoded = 0; },
           [](StoredChunk& c) { c.location.offset += 4096; },
           [](StoredChunk& c) { c.location.pack = 258; },
           [](StoredChunk& c) { c.location.length -= 4; },
           [&](StoredChunk& c) { c.digest = chunks_[1].chunk.digest; },
       }) {
    StoredChunk chunk = whole;
    lie(chunk);
    ExpectDamaged(ReadBack(*store_, chunk));
    ExpectDamaged(store_->Check(chunk.digest, chunk.location));
  }
  StoredChunk raw = chunks_[0].chunk;
  raw.location.encoded = raw.location.length - 1;
  ExpectDamaged(ReadBack(*store_, raw));
}

TEST_F(EncodedChunkTest, ArePunchedByThePayloadsLength) {
  EXPECT_TRUE(store_->Punch(chunks_[1].chunk.location).ok());
  EXPECT_EQ(Readable(), (std::vector<int>{0, 3, 4}));
  ChunkLocation wrong = chunks_[2].chunk.location;
  wrong.encoded = 0;
  EXPECT_FALSE(store_->Punch(wrong).ok());
}

TEST_F(EncodedChunkTest, RecoveryPassesOverThemWithoutTakingThemForChunks) {
  const auto pack = store_->RecoverPack(2);
  ASSERT_TRUE(pack.ok()) << pack.status();
  EXPECT_TRUE(pack->chunks.empty());
  EXPECT_EQ(pack->notes, std::vector<std::string>{"a note"});
  EXPECT_EQ(pack->cut_bytes, 0u);
  EXPECT_EQ(Readable().size(), size_t{kChunks});
}

TEST_F(EncodedChunkTest, WhatIsNotSmallerIsRefused) {
  auto writer = MustCreate(*store_, 3);
  EXPECT_FALSE(writer->AppendEncoded(100, RandomBytes(100, 1)).ok());
  EXPECT_FALSE(writer->MakeDurable().ok());
}

}  // namespace
}  // namespace ckptd
