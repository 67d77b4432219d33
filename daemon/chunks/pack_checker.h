// Reads what the disk holds and says whether it is what should lie there: the
// eye of the scrub. Internal to daemon/chunks.
#pragma once

#include "daemon/chunks/chunk_store.h"
#include "daemon/chunks/pack_directory.h"

namespace ckptd {

// Thread-safe. Opens a pack for each call, so that none stays open that is gone.
class PackChecker {
 public:
  explicit PackChecker(PackDirectory* packs) : packs_(packs) {}

  // As ChunkStore::Check and CheckHeader.
  absl::Status Check(const ckpt::Digest& digest, const ChunkLocation& location);
  absl::Status CheckHeader(PackId id);

 private:
  PackDirectory* const packs_;
};

}  // namespace ckptd
