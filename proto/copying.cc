#include "proto/copying.h"

#include <algorithm>
#include <cstring>

#include <blake3.h>

namespace ckpt {
namespace {

// What is copied before it is hashed: small enough to be still in the core's
// own cache, large enough for BLAKE3 to use its widest instructions.
constexpr size_t kStep = 128 << 10;

}  // namespace

Digest CopyAndHash(std::span<const std::span<const std::byte>> parts, std::byte* to) {
  blake3_hasher hasher;
  blake3_hasher_init(&hasher);
  size_t fresh = 0;  // copied to `to` and not hashed
  for (auto part : parts) {
    while (!part.empty()) {
      const size_t n = std::min(part.size(), kStep - fresh);
      std::memcpy(to + fresh, part.data(), n);
      part = part.subspan(n);
      fresh += n;
      if (fresh < kStep) continue;
      blake3_hasher_update(&hasher, to, fresh);
      to += fresh;
      fresh = 0;
    }
  }
  blake3_hasher_update(&hasher, to, fresh);
  Digest digest;
  blake3_hasher_finalize(&hasher, digest.bytes.data(), Digest::kBytes);
  return digest;
}

}  // namespace ckpt
