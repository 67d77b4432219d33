// Copying and hashing in one go.
#pragma once

#include <cstddef>
#include <span>

#include "proto/digest.h"

namespace ckpt {

// Copies the parts one after the other to `to`: the bytes pass through the
// processor once. The digest is that of the copy. Thread-safe.
Digest CopyAndHash(std::span<const std::span<const std::byte>> parts, std::byte* to);

}  // namespace ckpt
