#include "tests/crash/contents.h"

#include <cstring>
#include <span>

#include <fmt/format.h>

#include "client/download.h"
#include "proto/chunking.h"
#include "proto/limits.h"

namespace ckpt::crash {
namespace {

constexpr uint64_t kSharedTensors = 6;

// xorshift64*, 8 bytes at a time: as fast as memory.
class Words {
 public:
  explicit Words(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint64_t Next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1du;
  }

 private:
  uint64_t state_;
};

// Two floats a word: of every seed nearly the same, as one step's are of the
// next one's, so that what is kept is encoded as differences.
void FillBytes(uint64_t seed, std::span<std::byte> into) {
  constexpr uint64_t kOwnBits = 0x00000fff00000fff;
  constexpr uint64_t kRange = 0x87ffffff87ffffff;
  constexpr uint64_t kExponent = 0x3800000038000000;
  Words of_all(1), own(seed);
  for (size_t at = 0; at < into.size(); at += sizeof(uint64_t)) {
    const uint64_t word =
        (((of_all.Next() & ~kOwnBits) | (own.Next() & kOwnBits)) & kRange) | kExponent;
    std::memcpy(into.data() + at, &word, std::min(sizeof(word), into.size() - at));
  }
}

// Few, so that a tensor often has its neighbour's length.
uint64_t Rounded(uint64_t bytes) { return bytes / (128 << 10) * (128 << 10); }

Part Tensor(std::string name, uint64_t bytes, uint64_t seed) {
  return {.name = std::move(name), .dtype = DType::kF32, .length = bytes / 4 * 4, .seed = seed};
}

std::shared_ptr<const Shard> Complete(std::vector<Part> parts) {
  auto shard = std::make_shared<Shard>();
  Staging staging;
  if (!Fill(parts, staging).ok()) return nullptr;
  shard->manifest = staging.Hash();
  shard->parts = std::move(parts);
  return shard;
}

}  // namespace

absl::Status Fill(const std::vector<Part>& parts, Staging& staging) {
  std::vector<Entry> entries;
  for (const Part& part : parts) {
    Entry entry{.name = part.name, .dtype = part.dtype, .length = part.length};
    if (entry.is_tensor()) {
      entry.shape = {static_cast<int64_t>(part.length / ElementBytes(part.dtype))};
    }
    entries.push_back(std::move(entry));
  }
  RETURN_IF_ERROR(staging.Prepare(std::move(entries)));
  for (size_t i = 0; i < parts.size(); ++i) FillBytes(parts[i].seed, staging.entry(i));
  return absl::OkStatus();
}

std::shared_ptr<const Shard> RandomShard(Random& random, const Shard* previous) {
  std::vector<Part> parts;
  const auto add = [&](uint64_t bytes, uint64_t seed) {
    parts.push_back(Tensor(fmt::format("model/{}", parts.size()), bytes, seed));
  };
  // A shared tensor's length follows from its seed: everybody has the same.
  for (int i = 0; i < 2; ++i) {
    const uint64_t seed = 1 + Below(random, kSharedTensors);
    add(kSmallEntryBytes + seed * (100 << 10), seed);
  }
  if (previous != nullptr) {
    for (const Part& part : previous->parts) {
      if (part.length >= kSmallEntryBytes && Chance(random, 0.3)) add(part.length, part.seed);
    }
  }
  // Beyond a chunk's size once in a while.
  const uint64_t most = Chance(random, 0.1) ? kMaxChunkBytes + (1 << 20) : 900 << 10;
  for (uint64_t fresh = 1 + Below(random, 3); fresh > 0; --fresh) {
    add(kSmallEntryBytes + Rounded(Below(random, most - kSmallEntryBytes)), random());
  }
  if (Chance(random, 0.25)) add(parts.back().length, parts.back().seed);
  for (int i = 0; i < 4; ++i) {
    parts.push_back(Tensor(fmt::format("optimizer/state/{}/step", i), 4, random()));
  }
  parts.push_back({.name = "rng/cpu", .length = 1 + Below(random, 5000), .seed = random()});
  if (parts.size() > 20) parts.erase(parts.begin(), parts.end() - 20);
  return Complete(std::move(parts));
}

std::shared_ptr<const Shard> FreshShard(Random& random, uint32_t chunks) {
  return Complete({Tensor("model/all", uint64_t{chunks} * kMaxChunkBytes, random())});
}

absl::Status CheckContents(Client& client, uint64_t checkpoint_id, uint32_t rank,
                           const Shard& shard) {
  const auto wrong = [&](std::string what) {
    return absl::DataLossError(fmt::format("checkpoint {} rank {}: {}", checkpoint_id, rank, what));
  };
  ASSIGN_OR_RETURN(const Manifest manifest, client.GetManifest(checkpoint_id, rank));
  if (manifest != shard.manifest) return wrong("another manifest than was pushed");
  Staging expected;
  RETURN_IF_ERROR(Fill(shard.parts, expected));
  const std::vector<uint64_t> offsets = ChunkOffsets(manifest);
  uint64_t seen = 0;
  const auto compare = [&](uint32_t chunk, ChunkParts parts) {
    uint64_t at = offsets[chunk];
    for (const auto& part : parts) {
      if (at + part.size() > offsets[chunk + 1] ||
          std::memcmp(expected.bytes().data() + at, part.data(), part.size()) != 0) {
        return wrong(fmt::format("other bytes in chunk {} than were pushed", chunk));
      }
      at += part.size();
      seen += part.size();
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(Fetch(client,
                        {.checkpoint_id = checkpoint_id,
                         .rank = rank,
                         .manifest = &manifest,
                         .chunks = AllChunks(manifest)},
                        compare));
  return seen == offsets.back() ? absl::OkStatus() : wrong("bytes are missing");
}

}  // namespace ckpt::crash
