#include "proto/digest.h"

#include <algorithm>
#include <string>
#include <unordered_set>
#include <vector>

#include <gtest/gtest.h>

#include "proto/copying.h"

namespace ckpt {
namespace {

std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// The input of BLAKE3's official test vectors: 0, 1, ... 250, 0, 1, ...
std::string VectorInput(size_t size) {
  std::string input(size, '\0');
  for (size_t i = 0; i < size; ++i) input[i] = static_cast<char>(i % 251);
  return input;
}

TEST(Digest, IsBlake3) {
  struct Case {
    std::string input;
    const char* hex;
  };
  for (const Case& c : {
           Case{"", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
           Case{"abc", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"},
           Case{VectorInput(1), "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"},
           Case{VectorInput(1024),
                "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"},
           Case{VectorInput(1025),
                "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"},
           Case{VectorInput(102400),
                "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"},
       }) {
    EXPECT_EQ(HashBytes(c.input).Hex(), c.hex) << c.input.size() << " bytes";
  }
}

TEST(Digest, OfPartsIsThatOfTheWhole) {
  const std::string whole = VectorInput(100000);
  const std::string_view view = whole;
  for (size_t cut : {size_t{0}, size_t{1}, size_t{1024}, size_t{65536}, whole.size()}) {
    const std::span<const std::byte> parts[] = {
        Bytes(view.substr(0, cut)), {}, Bytes(view.substr(cut))};
    EXPECT_EQ(HashParts(parts), HashBytes(whole)) << "cut at " << cut;
  }
}

TEST(Digest, OfManyPartsIsThatOfTheWhole) {
  const std::string whole = VectorInput(1000003);
  const Digest digest = HashBytes(whole);
  for (const std::vector<size_t>& sizes : std::vector<std::vector<size_t>>{
           {1000}, {1024}, {65535}, {65536}, {65537}, {131072}, {200000, 1}, {1, 65536, 65535, 8},
           {65242, 283, 53548, 65536, 131073}}) {
    std::vector<std::span<const std::byte>> parts;
    std::span<const std::byte> left = Bytes(whole);
    for (size_t i = 0; !left.empty(); ++i) {
      parts.push_back(left.first(std::min(left.size(), sizes[i % sizes.size()])));
      left = left.subspan(parts.back().size());
    }
    EXPECT_EQ(HashParts(parts), digest) << testing::PrintToString(sizes);
    Hasher hasher;
    for (const auto part : parts) hasher.Add(part);
    EXPECT_EQ(hasher.Get(), digest) << testing::PrintToString(sizes);
  }
}

TEST(Digest, OfACopyIsThatOfWhatWasCopied) {
  const std::string whole(600'001, 'x');
  const std::string_view view = whole;
  for (const size_t size : {size_t{1}, size_t{4096}, size_t{131072}, size_t{131073}, view.size()}) {
    for (const size_t cut : {size_t{0}, size_t{1}, size_t{9}, size_t{65536}, size_t{300'000}}) {
      if (cut > size) continue;
      const std::span<const std::byte> parts[] = {
          Bytes(view.substr(0, cut)), {}, Bytes(view.substr(cut, size - cut))};
      std::string copy(size, '\0');
      const Digest digest = CopyAndHash(parts, reinterpret_cast<std::byte*>(copy.data()));
      EXPECT_EQ(digest, HashBytes(view.substr(0, size))) << size << " cut at " << cut;
      EXPECT_TRUE(copy == view.substr(0, size)) << size << " cut at " << cut;
    }
  }
}

TEST(Digest, GoesToTextAndBack) {
  const Digest digest = HashBytes("abc");

  EXPECT_EQ(Digest::FromHex(digest.Hex()), digest);
  EXPECT_EQ(Digest::FromBytes(digest.View()), digest);
}

TEST(Digest, TakesNothingElse) {
  const std::string hex = HashBytes("abc").Hex();
  for (const std::string& bad : {std::string(), hex.substr(1), hex + "0", "g" + hex.substr(1),
                                 " " + hex.substr(1), "A" + hex.substr(1)}) {
    EXPECT_EQ(Digest::FromHex(bad), std::nullopt) << bad;
  }
  for (size_t size : {0, 31, 33, 64}) {
    EXPECT_EQ(Digest::FromBytes(std::string(size, 'x')), std::nullopt) << size;
  }
}

TEST(Digest, IsAKey) {
  std::unordered_set<Digest> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(HashBytes(std::to_string(i)));

  EXPECT_EQ(seen.size(), 1000u);
  EXPECT_TRUE(seen.count(HashBytes("7")));
  EXPECT_LT(Digest(), HashBytes("7"));
}

}  // namespace
}  // namespace ckpt
