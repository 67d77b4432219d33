#include "client/copier.h"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

namespace ckpt {
namespace {

struct Memory {
  std::vector<std::byte> from, to;
  std::vector<CopyPiece> pieces;
  std::vector<std::byte> wanted;
};

// Pieces of `sizes` at odd places, with bytes between them that must stay.
Memory MakeMemory(const std::vector<size_t>& sizes) {
  Memory memory;
  size_t total = 0;
  for (const size_t size : sizes) total += size + 7;
  std::minstd_rand random(7);
  memory.from.resize(total);
  memory.to.resize(total + 3, std::byte{0xEE});
  for (std::byte& byte : memory.from) byte = static_cast<std::byte>(random());
  memory.wanted = memory.to;
  size_t at = 0;
  for (const size_t size : sizes) {
    memory.pieces.push_back({memory.from.data() + at, memory.to.data() + at + 3, size});
    if (size > 0) std::memcpy(memory.wanted.data() + at + 3, memory.from.data() + at, size);
    at += size + 7;
  }
  return memory;
}

TEST(Copier, CopiesEveryPieceWholeAndNothingElse) {
  const struct {
    const char* what;
    std::vector<size_t> sizes;
  } kCases[] = {
      {"nothing", {}},
      {"empty ones", {0, 0}},
      {"small ones", {1, 2, 3, 63, 64, 65, 127, 128, 129}},
      {"around where streaming begins", {65'535, 65'536, 65'537, 65'600, 65'663, 65'664}},
      {"one of several shares", {(9u << 20) + 5}},
      {"shares that end within pieces", {3u << 20, 5u << 20, 1, 4u << 20, 100'000}},
      {"thousands of tiny ones", std::vector<size_t>(20'000, 8)},
  };
  for (const int threads : {0, 1, 2, 5}) {
    Copier copier(threads);
    for (const auto& [what, sizes] : kCases) {
      Memory memory = MakeMemory(sizes);
      copier.Copy(memory.pieces);
      EXPECT_TRUE(memory.to == memory.wanted) << what << ", " << threads << " threads";
    }
  }
}

TEST(Copier, RunsFirstOnTheCallersThreadOnce) {
  for (const int threads : {1, 3}) {
    Copier copier(threads);
    for (const size_t size : {size_t{0}, size_t{10}, size_t{20} << 20}) {
      Memory memory = MakeMemory({size});
      int ran = 0;
      std::thread::id by;
      copier.Copy(memory.pieces, [&] {
        ++ran;
        by = std::this_thread::get_id();
      });
      EXPECT_EQ(ran, 1) << size;
      EXPECT_EQ(by, std::this_thread::get_id()) << size;
      EXPECT_TRUE(memory.to == memory.wanted) << size;
    }
  }
}

TEST(Copier, SeveralCallersEachGetTheirOwn) {
  Copier copier(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (size_t caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (int round = 0; round < 5; ++round) {
        Memory memory = MakeMemory({(caller + 1) << 20, 5u << 20, 12'345});
        copier.Copy(memory.pieces);
        if (memory.to != memory.wanted) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace ckpt
