// Chunks in fewer bytes: lossless, made for floats. Pure functions.
//
// A float's mantissa is noise, its exponent is not, and its neighbour a few
// steps earlier or later is about the same number. So a chunk is taken as
// elements of 1, 2, 4 or 8 bytes, and
//   planes       each element is turned left by a bit (the whole exponent then
//                lies in the highest byte, the sign in the lowest bit), and
//                all highest bytes are written together, then all second, ...
//   differences  against a chunk of the same length, the base: the elements'
//                bit patterns, mapped so that they are ordered as the floats
//                are, are subtracted; the difference is written as planes, with
//                its sign in the lowest bit. The elements are sorted (stably)
//                by the exponent of the base's, which the decoder knows: what
//                an update changes depends on it, so equals come together.
// Elements of one byte are not turned, and their difference is XOR, in order.
// Each plane is compressed by zstd, or raw where that does not pay.
//
// On fp32 states of AdamW, bytes per byte: planes 0.83 to 0.85; differences
// over 20 steps 0.76 (parameters, at a rate of 1e-3) and 0.69 (exp_avg_sq);
// exp_avg forgets too fast for a base to help. XOR was 2 to 6 points worse than
// subtraction, and sorting gained 1 to 2 more on parameters.
//
//   at  size
//    0     4  "CKE1"
//    4     1  codec: 1 planes, 2 differences
//    5     1  bytes of an element: 1, 2, 4 or 8
//    6     2  zero
//    8     4  length of the chunk
//   12     4  zero
//   16    32  BLAKE3 of the chunk
//   48    32  BLAKE3 of the base; zeros where there is none
//   80        4 bytes for each plane: its length as stored, bit 31 set where
//             it is zstd; the planes; then, as they are, the chunk's last
//             bytes that fill no element
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "proto/digest.h"
#include "proto/status.h"

namespace ckptd {

inline constexpr size_t kEncodedHeaderBytes = 80;

struct CodecBase {
  ckpt::Digest digest;
  std::span<const std::byte> bytes;
};

struct CodecOptions {
  uint32_t element_bytes = 4;  // 1, 2, 4 or 8
  int level = 1;               // of zstd, 1 to 19; above 1 gains next to nothing on planes
};

// `chunk` (1 to kMaxChunkBytes bytes, whose digest is `digest`) in the fewest
// bytes of the ways above. Nothing where that saves less than 3 %. `base` is
// used where it has the chunk's length and saves a further 2 % of it.
std::optional<std::vector<std::byte>> EncodeChunk(const ckpt::Digest& digest,
                                                  std::span<const std::byte> chunk,
                                                  const std::optional<CodecBase>& base,
                                                  const CodecOptions& options);

struct EncodedHeader {
  ckpt::Digest digest;
  std::optional<ckpt::Digest> base;
  uint32_t length = 0;  // of the chunk
  uint32_t element_bytes = 0;
};
// Nothing where the bytes are no header of ours.
std::optional<EncodedHeader> DecodeHeader(std::span<const std::byte> encoded);

// The chunk into `out`, which has its length; `base` is empty where the header
// names none. Takes any bytes whatever: DATA_LOSS/CHUNK_DAMAGED for those that
// are not whole. That what comes out has the chunk's digest is for the caller
// to check.
absl::Status DecodeChunk(std::span<const std::byte> encoded, std::span<const std::byte> base,
                         std::span<std::byte> out);

}  // namespace ckptd
