// Chunks that a test has appended, and what becomes of them.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/chunks/chunk_store.h"
#include "proto/limits.h"

namespace ckptd {

// `size` bytes that depend on `seed` and repeat nowhere.
inline std::vector<std::byte> RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(bytes.data() + i, &word, std::min(sizeof(word), size - i));
  }
  return bytes;
}

inline ckpt::Digest DigestOf(const std::vector<std::byte>& bytes) {
  return ckpt::HashBytes(bytes.data(), bytes.size());
}

inline absl::StatusOr<ChunkLocation> AppendBytes(PackWriter& writer,
                                                 const std::vector<std::byte>& bytes) {
  const std::span<const std::byte> part = bytes;
  return writer.Append(DigestOf(bytes), std::span(&part, 1));
}

// A chunk that was appended, and what it should read back as.
struct Written {
  std::vector<std::byte> bytes;
  StoredChunk chunk;
};

inline Written MustAppend(PackWriter& writer, std::vector<std::byte> bytes) {
  const absl::StatusOr<ChunkLocation> location = AppendBytes(writer, bytes);
  EXPECT_TRUE(location.ok()) << location.status();
  const ckpt::Digest digest = DigestOf(bytes);
  return {std::move(bytes), {digest, location.ok() ? *location : ChunkLocation{}}};
}

inline std::unique_ptr<PackWriter> MustCreate(ChunkStore& store, PackId id) {
  absl::StatusOr<std::unique_ptr<PackWriter>> writer = store.NewPack(id);
  EXPECT_TRUE(writer.ok()) << writer.status();
  return *std::move(writer);
}

// By Read and by View, which say the same where neither compares the digest.
inline absl::Status ReadBack(ChunkStore& store, const StoredChunk& chunk,
                             std::vector<std::byte>* out = nullptr, bool verify = true) {
  std::vector<std::byte> bytes(chunk.location.length);
  absl::Status status = store.Read(chunk.digest, chunk.location, bytes, verify);
  const auto view = store.View(chunk.digest, chunk.location);
  if (status.ok() || !verify) {
    EXPECT_EQ(view.status(), status);
  }
  if (status.ok() && view.ok()) {
    EXPECT_TRUE(std::ranges::equal((*view)->bytes(), bytes));
  }
  if (out != nullptr) *out = std::move(bytes);
  return status;
}

inline void ExpectReadable(ChunkStore& store, const Written& written) {
  std::vector<std::byte> read;
  const absl::Status status = ReadBack(store, written.chunk, &read);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(read == written.bytes) << "at " << written.chunk.location.offset;
}

inline void ExpectDamaged(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kChunkDamaged);
}

}  // namespace ckptd
