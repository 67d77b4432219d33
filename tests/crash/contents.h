// What the crash test pushes: bytes that can be made again from a few numbers,
// so that a model of everything that was ever pushed fits in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/staging.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckpt::crash {

using Random = std::mt19937_64;
inline bool Chance(Random& random, double probability) {
  return std::uniform_real_distribution<>()(random) < probability;
}
inline uint64_t Below(Random& random, uint64_t end) {
  return std::uniform_int_distribution<uint64_t>(0, end - 1)(random);
}

// An entry and what its bytes come from: alike where seed and length are.
struct Part {
  std::string name;
  DType dtype = DType::kNone;
  uint64_t length = 0;
  uint64_t seed = 0;
};

struct Shard {
  std::vector<Part> parts;
  Manifest manifest;
};

// The shard's byte stream in `staging`, not hashed.
absl::Status Fill(const std::vector<Part>& parts, Staging& staging);

// A state of a few MiB: tensors that all shards share, tensors of `previous`
// (may be null) that did not change, fresh ones, some of them twice, and many
// small entries.
std::shared_ptr<const Shard> RandomShard(Random& random, const Shard* previous);
// `chunks` full chunks that nothing else holds.
std::shared_ptr<const Shard> FreshShard(Random& random, uint32_t chunks);

// Fetches all of a checkpoint's shard: the manifest and every byte have to be
// those of `shard`. DATA_LOSS where they are not.
absl::Status CheckContents(Client& client, uint64_t checkpoint_id, uint32_t rank,
                           const Shard& shard);

}  // namespace ckpt::crash
