// What chunks.cc and uploads.cc share; internal to the catalog.
#pragma once

#include <cstdint>

#include "daemon/catalog/catalog.h"

namespace ckptd::catalog {

// Takes a shard's references away and moves the chunks that no shard refers to
// any more to `reclaims`.
absl::Status ReleaseShard(WriteTxn& txn, int64_t project_id, int64_t shard_row);

}  // namespace ckptd::catalog
