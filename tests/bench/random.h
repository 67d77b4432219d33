// Bytes that no two calls share and that do not compress.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace ckpt::bench {

// Fills `into` with float32 of random bits, of which one is cleared so that no
// value is NaN or infinite. The same `seed` gives the same bytes.
inline void FillRandom(uint64_t seed, std::span<std::byte> into) {
  uint64_t state = seed * 0xd1342543de82ef95u;
  const auto next = [&state] {  // SplitMix64
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) & 0xbfffffffbfffffffu;
  };
  size_t at = 0;
  for (; at + sizeof(uint64_t) <= into.size(); at += sizeof(uint64_t)) {
    const uint64_t word = next();
    std::memcpy(into.data() + at, &word, sizeof(word));
  }
  const uint64_t word = next();
  std::memcpy(into.data() + at, &word, into.size() - at);
}

}  // namespace ckpt::bench
