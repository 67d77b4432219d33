// What the tests of the real daemon share: shards of pseudo-random bytes,
// pushes of them, and what the daemon costs in memory and on disk.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "client/client.h"
#include "client/upload.h"
#include "tests/testing/process.h"
#include "tests/testing/temp_dir.h"

namespace ckpt::test {

inline constexpr uint64_t kMiB = 1 << 20;
inline constexpr uint64_t kGiB = 1 << 30;

// Whether the environment asks for the long form of a test.
bool Asked(const char* variable);

// The bytes of stream `seed` at `offset` (a multiple of 8): the same always.
void FillRandom(uint64_t seed, uint64_t offset, std::span<std::byte> into);

// A shard whose entries are tensors of random bytes (U8), each of its own seed.
struct Part {
  std::string name;
  uint64_t seed = 0;
  uint64_t length = 0;
};
struct Shard {
  Manifest manifest;
  std::vector<std::byte> bytes;
};
Shard MakeShard(const std::vector<Part>& parts);
// One entry, "w".
inline Shard MakeShard(uint64_t seed, uint64_t length) { return MakeShard({{"w", seed, length}}); }
// The manifest of what ReadRandom(seed) reads, for a shard not kept in memory.
Manifest MakeManifest(uint64_t seed, uint64_t length);
ChunkReader ReadRandom(uint64_t seed);

// A client that gives up after `window`.
std::unique_ptr<Client> Connect(const std::string& address,
                                absl::Duration window = absl::Seconds(20),
                                const CredentialOptions& credentials = {});
// Opens an attempt of `run`: its number; 0 with a failure recorded.
uint64_t OpenAttempt(Client& client, const RunName& run, uint32_t world_size = 1,
                     const std::optional<Policy>& policy = {});
absl::StatusOr<PushResult> PushShard(Client& client, const RunName& run, uint64_t attempt,
                                     uint64_t step, const Shard& shard, uint32_t rank = 0);
// The whole shard as fetched; a failure is recorded.
std::vector<std::byte> FetchShard(Client& client, uint64_t checkpoint_id, uint32_t rank = 0);

// What `du` counts: blocks of all files below.
uint64_t DiskBytes(const std::string& directory);

struct Memory {
  uint64_t peak = 0, now = 0;  // VmHWM, VmRSS
};
Memory MemoryOf(pid_t pid);

// All that bad input may not change, as text: runs, checkpoints with the
// removed ones, events, figures without the clock, the scrub and the disk's free
// bytes.
std::string Picture(const std::string& address, const std::string& token = "");

// One sentence for people: not empty, one line, printable, not endless.
testing::AssertionResult IsOneSentence(std::string_view text);

}  // namespace ckpt::test
