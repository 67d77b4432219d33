// What several files of the catalog need to take chunks away; internal to it.
#pragma once

#include <cstdint>

#include "daemon/catalog/catalog.h"

namespace ckptd::catalog {

// Takes a shard's references away and moves the chunks that no shard refers to
// any more to `reclaims`.
absl::Status ReleaseShard(WriteTxn& txn, int64_t project_id, int64_t shard_row);

// Takes the shard's references to the chunks in temp.released away, and goes on
// as ReleaseUnused.
absl::Status ReleaseListed(WriteTxn& txn, int64_t project_id, int64_t shard_row);

// Of the chunks in temp.released, those that no shard and no difference needs
// go to `reclaims`, and so do their bases that nobody else needs. All must be
// the project's.
absl::Status ReleaseUnused(WriteTxn& txn, int64_t project_id);

}  // namespace ckptd::catalog
