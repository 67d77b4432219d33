// What the codec encodes it decodes to the same bytes, and nothing that it is
// given makes it do worse than say no.
#include "daemon/chunks/codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "proto/limits.h"

namespace ckptd {
namespace {

using Bytes = std::vector<std::byte>;

template <typename T>
Bytes BytesOf(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

ckpt::Digest DigestOf(const Bytes& bytes) { return ckpt::HashBytes(bytes.data(), bytes.size()); }

Bytes Noise(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

std::vector<float> Weights(size_t count, uint64_t seed, float scale = 0.02f) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// The weights a few small steps later.
std::vector<float> Updated(std::vector<float> values, uint64_t seed, float step = 1e-4f) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0, step);
  for (float& value : values) value += normal(random);
  return values;
}

// The upper half of each float.
Bytes AsBf16(const std::vector<float>& values) {
  std::vector<uint16_t> halves;
  for (const float value : values) {
    halves.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
  }
  return BytesOf(halves);
}
// Without subnormals: enough for numbers of this size.
Bytes AsFp16(const std::vector<float>& values) {
  std::vector<uint16_t> halves;
  for (const float value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    const int exponent = static_cast<int>(bits >> 23 & 0xff) - 127 + 15;
    const uint32_t magnitude =
        exponent <= 0 ? 0 : static_cast<uint32_t>(exponent) << 10 | (bits >> 13 & 0x3ff);
    halves.push_back(static_cast<uint16_t>(bits >> 31 << 15 | magnitude));
  }
  return BytesOf(halves);
}
Bytes AsF64(const std::vector<float>& values) {
  return BytesOf(std::vector<double>(values.begin(), values.end()));
}

struct Case {
  std::string name;
  uint32_t element_bytes;
  Bytes chunk;
  Bytes base;
};

std::vector<Case> Cases() {
  const std::vector<float> weights = Weights(20000, 1);
  const std::vector<float> later = Updated(weights, 2);
  std::vector<Case> cases = {
      {"f32", 4, BytesOf(later), BytesOf(weights)},
      {"bf16", 2, AsBf16(later), AsBf16(weights)},
      {"f16", 2, AsFp16(later), AsFp16(weights)},
      {"f64", 8, AsF64(later), AsF64(weights)},
      {"zeros", 4, Bytes(70000), Bytes(70000)},
      {"zeros against weights", 4, Bytes(80000), BytesOf(weights)},
      {"the same", 4, BytesOf(weights), BytesOf(weights)},
      {"negated", 4, BytesOf(weights), [&] {
         std::vector<float> negative = weights;
         for (float& value : negative) value = -value;
         return BytesOf(negative);
       }()},
      {"noise", 4, Noise(80000, 3), Noise(80000, 4)},
      {"noise against itself", 8, Noise(80000, 3), Noise(80000, 3)},
      {"largest", 4, Bytes(ckpt::kMaxChunkBytes, std::byte{7}), {}},
  };
  // Every special value, as a base and against one.
  std::vector<uint32_t> special;
  for (uint32_t exponent = 0; exponent < 256; ++exponent) {
    for (const uint32_t mantissa : {0u, 1u, 0x2aaaaau, 0x400000u, 0x7fffffu}) {
      for (const uint32_t sign : {0u, 1u}) {
        for (int i = 0; i < 8; ++i) special.push_back(sign << 31 | exponent << 23 | mantissa);
      }
    }
  }
  std::vector<uint32_t> shifted = special;
  std::rotate(shifted.begin(), shifted.begin() + 777, shifted.end());
  cases.push_back({"NaNs, infinities, subnormals", 4, BytesOf(special), BytesOf(shifted)});
  std::vector<int64_t> counters(9000);
  for (size_t i = 0; i < counters.size(); ++i) counters[i] = static_cast<int64_t>(i) - 4000;
  std::vector<int64_t> next = counters;
  for (int64_t& value : next) value += 20;
  cases.push_back({"i64", 8, BytesOf(next), BytesOf(counters)});
  std::string text;
  for (int i = 0; i < 3000; ++i) text += fmt::format("\"loss\": {}.{}, ", i % 7, i);
  const auto* at = reinterpret_cast<const std::byte*>(text.data());
  cases.push_back({"text", 1, Bytes(at, at + text.size()), {}});
  // Lengths that no element divides.
  for (const uint32_t width : {1u, 2u, 4u, 8u}) {
    for (size_t length : {1u, 2u, 3u, 5u, 7u, 9u, 1001u, 4099u}) {
      Bytes chunk(length, std::byte{1});
      Bytes base(length, std::byte{2});
      chunk.back() = std::byte{9};
      cases.push_back({fmt::format("{} bytes of {}", length, width), width, chunk, base});
    }
  }
  return cases;
}

TEST(CodecTest, WhatIsEncodedDecodesToTheSameBytes) {
  for (const Case& c : Cases()) {
    for (const bool with_base : {false, true}) {
      SCOPED_TRACE(fmt::format("{}, base: {}", c.name, with_base));
      std::optional<CodecBase> base;
      if (with_base) base = CodecBase{DigestOf(c.base), c.base};
      const auto encoded =
          EncodeChunk(DigestOf(c.chunk), c.chunk, base, {.element_bytes = c.element_bytes});
      if (!encoded) continue;
      EXPECT_LT(encoded->size(), c.chunk.size());
      const auto header = DecodeHeader(*encoded);
      ASSERT_TRUE(header.has_value());
      EXPECT_EQ(header->digest, DigestOf(c.chunk));
      EXPECT_EQ(header->length, c.chunk.size());
      EXPECT_EQ(header->element_bytes, c.element_bytes);
      EXPECT_EQ(header->base.value_or(DigestOf(c.base)), DigestOf(c.base));
      Bytes decoded(c.chunk.size());
      const absl::Status status =
          DecodeChunk(*encoded, header->base ? std::span<const std::byte>(c.base)
                                             : std::span<const std::byte>(),
                      decoded);
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_TRUE(decoded == c.chunk);
    }
  }
}

// Of the chunk's bytes, in per cent; 100 where it does not pay.
size_t Percent(const Bytes& chunk, const Bytes& base, uint32_t element_bytes) {
  std::optional<CodecBase> against;
  if (!base.empty()) against = CodecBase{DigestOf(base), base};
  const auto encoded =
      EncodeChunk(DigestOf(chunk), chunk, against, {.element_bytes = element_bytes});
  return encoded ? encoded->size() * 100 / chunk.size() : 100;
}

TEST(CodecTest, FloatsGetSmallerAndSmallerStillAgainstTheirNeighbour) {
  const std::vector<float> weights = Weights(1 << 18, 1);
  const std::vector<float> later = Updated(weights, 2);
  const struct {
    std::string name;
    uint32_t element_bytes;
    Bytes chunk, base;
    size_t planes, differences;  // at most so many per cent
  } table[] = {
      {"f32", 4, BytesOf(later), BytesOf(weights), 86, 65},
      {"bf16", 2, AsBf16(later), AsBf16(weights), 72, 35},
      {"f16", 2, AsFp16(later), AsFp16(weights), 90, 50},
      {"f64 of floats", 8, AsF64(later), AsF64(weights), 55, 45},
  };
  for (const auto& c : table) {
    SCOPED_TRACE(c.name);
    EXPECT_LE(Percent(c.chunk, {}, c.element_bytes), c.planes);
    EXPECT_LE(Percent(c.chunk, c.base, c.element_bytes), c.differences);
  }
}

TEST(CodecTest, WhatDoesNotPayIsNotEncoded) {
  const Bytes noise = Noise(1 << 16, 1);
  for (const uint32_t width : {1u, 2u, 4u, 8u}) EXPECT_EQ(Percent(noise, {}, width), 100u);
  EXPECT_EQ(Percent(noise, Noise(1 << 16, 2), 4), 100u);
  EXPECT_EQ(Percent({}, {}, 4), 100u);
  EXPECT_EQ(Percent(Bytes(8), {}, 4), 100u);  // the header alone is longer
  EXPECT_EQ(Percent(Bytes(4096), {}, 3), 100u);
  EXPECT_EQ(Percent(Bytes(ckpt::kMaxChunkBytes + 1), {}, 4), 100u);
}

TEST(CodecTest, ABaseThatDoesNotHelpIsNotUsed) {
  const Bytes chunk = BytesOf(Weights(20000, 1));
  for (const Bytes& base : {BytesOf(Weights(20000, 9, 50.0f)), Noise(80000, 3), Bytes(79999)}) {
    const auto encoded = EncodeChunk(DigestOf(chunk), chunk, CodecBase{DigestOf(base), base}, {});
    ASSERT_TRUE(encoded.has_value());
    EXPECT_FALSE(DecodeHeader(*encoded)->base.has_value());
  }
}

// Decodes as a reader does who believes the header; whether that was refused.
bool IsRefused(const Bytes& encoded, const Bytes& chunk, const Bytes& base) {
  const auto header = DecodeHeader(encoded);
  if (!header) return true;
  // Exactly as long as they must be, so that a sanitizer sees a byte too far.
  const Bytes exact(encoded);
  Bytes out(header->length), of_base;
  if (header->base) of_base = base;
  const absl::Status status = DecodeChunk(exact, of_base, out);
  EXPECT_TRUE(status.ok() || ckpt::ReasonOf(status) == "CHUNK_DAMAGED") << status;
  return !status.ok() || header->digest != DigestOf(chunk) || out != chunk;
}

TEST(CodecTest, WhatIsTornOrChangedIsRefusedOrHasAnotherDigest) {
  const std::vector<float> weights = Weights(3000, 1);
  const Bytes base = BytesOf(weights);
  Bytes chunk = BytesOf(Updated(weights, 2));
  chunk.resize(chunk.size() - 1);  // a tail
  const Bytes same_length(base.begin(), base.end() - 1);
  for (const bool with_base : {false, true}) {
    std::optional<CodecBase> against;
    if (with_base) against = CodecBase{DigestOf(same_length), same_length};
    const Bytes encoded = *EncodeChunk(DigestOf(chunk), chunk, against, {});
    ASSERT_EQ(DecodeHeader(encoded)->base.has_value(), with_base);
    ASSERT_FALSE(IsRefused(encoded, chunk, same_length));
    for (size_t length = 0; length < encoded.size(); length += length < 200 ? 1 : 97) {
      EXPECT_TRUE(IsRefused({encoded.begin(), encoded.begin() + static_cast<ptrdiff_t>(length)},
                            chunk, same_length))
          << length;
    }
    Bytes longer = encoded;
    longer.push_back(std::byte{0});
    EXPECT_TRUE(IsRefused(longer, chunk, same_length));
    // What follows is unspecified, but neither a crash nor a byte too far.
    std::mt19937_64 random(7);
    for (int i = 0; i < 4000; ++i) {
      Bytes other = encoded;
      const size_t flips = 1 + random() % 4;
      for (size_t flip = 0; flip < flips; ++flip) {
        const size_t among = i % 2 == 0 ? std::min<size_t>(other.size(), 120) : other.size();
        other[random() % among] ^= static_cast<std::byte>(1 + random() % 255);
      }
      IsRefused(other, chunk, same_length);
    }
  }
}

TEST(CodecTest, LengthsThatLieAreRefused) {
  const Bytes chunk = BytesOf(Weights(3000, 1));
  const Bytes encoded = *EncodeChunk(DigestOf(chunk), chunk, std::nullopt, {});
  Bytes out(chunk.size());
  for (size_t plane = 0; plane < 4; ++plane) {
    for (const uint32_t length : {0u, 1u, 2999u, 3001u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
      Bytes other = encoded;
      std::memcpy(other.data() + kEncodedHeaderBytes + plane * 4, &length, 4);
      EXPECT_TRUE(absl::IsDataLoss(DecodeChunk(other, {}, out))) << plane << " " << length;
    }
  }
  EXPECT_TRUE(absl::IsDataLoss(DecodeChunk(encoded, {}, std::span(out).first(11999))));
  EXPECT_TRUE(absl::IsDataLoss(DecodeChunk(encoded, chunk, out)));  // it has no base
}

}  // namespace
}  // namespace ckptd
