// Reads chunks that lie in a pack encoded. Internal to daemon/chunks.
#pragma once

#include <span>

#include "daemon/chunks/chunk_store.h"
#include "daemon/chunks/pack_reader.h"

namespace ckptd {

// As ChunkStore::Read, for a location that says it is encoded. Reads and
// decodes its bases first, the last one to begin with; the digest is always
// compared.
absl::Status ReadEncodedChunk(PackReader& reader, const ckpt::Digest& digest,
                              const ChunkLocation& location, std::span<std::byte> out);

}  // namespace ckptd
