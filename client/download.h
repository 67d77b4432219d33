// Fetching chunks of a committed checkpoint's shard. Every chunk's digest is
// checked before anybody sees a byte of it.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "client/client.h"
#include "client/transfer.h"

namespace ckpt {

struct FetchRequest {
  uint64_t checkpoint_id = 0;
  uint32_t rank = 0;
  const Manifest* manifest = nullptr;  // from Client::GetManifest
  std::vector<uint32_t> chunks;        // which, ascending; see the helpers below
};

std::vector<uint32_t> AllChunks(const Manifest& manifest);
// The chunks that hold these entries. NOT_FOUND/ENTRY_NOT_FOUND names the first unknown.
absl::StatusOr<std::vector<uint32_t>> ChunksOfEntries(const Manifest& manifest,
                                                      const std::vector<std::string>& entries);

// A chunk's bytes, in parts one after the other, valid during the call. An
// error ends the fetch with it. Called from the thread that called Fetch.
using ChunkParts = std::span<const std::span<const std::byte>>;
using ChunkSink = std::function<absl::Status(uint32_t chunk, ChunkParts parts)>;

// Gives each chunk to `sink` once, in the order asked for. When the line breaks
// goes on with the chunk that is next. DATA_LOSS/CHUNK_DAMAGED: bytes do not
// match their digest. Another status: as the daemon gave it, or CANCELLED.
absl::Status Fetch(Client& client, const FetchRequest& request, const ChunkSink& sink,
                   const ProgressFn& progress = nullptr, Cancel* cancel = nullptr);

// A byte range of an entry and the memory that it goes to.
struct Destination {
  std::string entry;
  uint64_t offset = 0;             // within the entry
  std::optional<uint64_t> length;  // absent: to the entry's end
  std::byte* data = nullptr;       // room for as many bytes
};

// Fetches the chunks that `destinations` need, each once, and copies straight
// into them, by several streams where that is faster (ClientOptions::
// fetch_streams). On an error some of them may have been written. `progress` is
// called by one thread at a time.
// INVALID_ARGUMENT: a range outside its entry. NOT_FOUND/ENTRY_NOT_FOUND.
absl::Status FetchInto(Client& client, uint64_t checkpoint_id, uint32_t rank,
                       const Manifest& manifest, const std::vector<Destination>& destinations,
                       const ProgressFn& progress = nullptr, Cancel* cancel = nullptr);

// Whole entries as strings, for small ones.
absl::StatusOr<std::vector<std::string>> FetchEntries(Client& client, uint64_t checkpoint_id,
                                                      uint32_t rank, const Manifest& manifest,
                                                      const std::vector<std::string>& entries);

// The byte ranges that make the box `begin`..`begin+shape` of a row-major
// tensor of `whole` shape, as (offset, length) within the tensor, ascending
// and as long as they can be: what a rank needs of an entry when the world
// size changed. INVALID_ARGUMENT: the box is not inside.
struct ByteRange {
  uint64_t offset = 0, length = 0;
  bool operator==(const ByteRange&) const = default;
};
absl::StatusOr<std::vector<ByteRange>> BoxRanges(std::span<const int64_t> whole,
                                                 std::span<const int64_t> begin,
                                                 std::span<const int64_t> shape,
                                                 size_t element_bytes);

}  // namespace ckpt
