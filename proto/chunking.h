// How a shard's entries become a byte stream and the stream becomes chunks.
//
// An entry of kSmallEntryBytes or more starts a chunk of its own and is cut
// every kMaxChunkBytes, so that a tensor that did not change has the digests
// it had. Smaller entries are laid one after the other into shared chunks, so
// that neither disk nor catalog pays for each. Only the pusher lays out; the
// daemon checks that a manifest adds up and takes any layout that does.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "proto/model.h"
#include "proto/status.h"

namespace ckpt {

// Sets `offset` of every entry, in order of the entries (large and small
// alike), and returns the chunks' lengths. Tensors' `length` must be set.
// Small entries are padded to begin at a multiple of 16 bytes, so the stream
// may be a little longer than its entries; the padding is zero.
std::vector<uint32_t> LayOut(std::vector<Entry>& entries);

// The length of `shape` of `dtype` in bytes; INVALID_ARGUMENT when a
// dimension is negative or the product does not fit.
absl::StatusOr<uint64_t> TensorBytes(DType dtype, std::span<const int64_t> shape);

// INVALID_ARGUMENT/BAD_MANIFEST naming the field that does not add up: an
// entry outside the chunks, two that overlap, a length that its dtype and
// shape do not give, a name twice, a slice outside its whole, a chunk of no or
// more than kMaxChunkBytes bytes, a limit of limits.h passed.
absl::Status CheckManifest(const Manifest& manifest);

// Prefix sums: element i is where chunk i begins; the last is the total.
std::vector<uint64_t> ChunkOffsets(const Manifest& manifest);

// [first, last) indices of the chunks that hold stream bytes [begin, end).
struct ChunkSpan { uint32_t first = 0, last = 0; };
ChunkSpan ChunksOf(std::span<const uint64_t> chunk_offsets, uint64_t begin, uint64_t end);

}  // namespace ckpt
