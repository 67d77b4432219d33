// What the readers of packs say of bytes that are not as they should be.
// Internal to daemon/chunks.
#pragma once

#include <string_view>

#include "daemon/chunks/chunk_store.h"
#include "proto/status.h"

namespace ckptd {

// DATA_LOSS/CHUNK_DAMAGED; `what`: "its bytes have another digest".
absl::Status ChunkDamaged(const ckpt::Digest& digest, const ChunkLocation& location,
                          std::string_view what);

}  // namespace ckptd
