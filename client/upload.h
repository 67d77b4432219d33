// Pushing one shard: offer the manifest, stream what the daemon lacks, commit.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <variant>

#include "client/client.h"
#include "client/transfer.h"

namespace ckpt {

// Fills `into` with the bytes of chunk `index`, which begin at `offset` of the
// stream. Called from one thread at a time, possibly more than once a chunk.
using ChunkReader =
    std::function<absl::Status(uint32_t index, uint64_t offset, std::span<std::byte> into)>;

struct PushRequest {
  ShardOffer offer;  // with the complete manifest
  // The whole stream in memory (sent from there without a copy), or a reader
  // for what is larger than memory. Both must stay until Push returns.
  std::variant<std::span<const std::byte>, ChunkReader> source;
};

struct PushResult {
  std::optional<Checkpoint> checkpoint;  // set by the push of the last shard
  uint32_t shards_durable = 0;
  uint32_t world_size = 0;
  uint64_t sent_bytes = 0;   // over the line, what was lost on the way included
  uint64_t total_bytes = 0;  // of the shard
};

// Returns once the shard is durable. When the line breaks or the daemon
// restarts, asks again what is missing and goes on from there, until the
// client's retry window ends without progress. A failed Push leaves the upload
// for the next try; a cancelled one too: CANCELLED.
absl::StatusOr<PushResult> Push(Client& client, const PushRequest& request,
                                const ProgressFn& progress = nullptr, Cancel* cancel = nullptr);

}  // namespace ckpt
