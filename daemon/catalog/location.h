// Reads where a chunk lies, with what it is a difference to; internal to the
// catalog.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "daemon/catalog/sqlite.h"
#include "daemon/chunks/chunk_store.h"

namespace ckptd::catalog {

// Bases that were looked up before, by row.
using BaseCache = std::unordered_map<int64_t, std::shared_ptr<const StoredChunk>>;

// From the columns pack, pack_offset, extent, length, encoded, base.
// DATA_LOSS/CATALOG_DAMAGED for a chain of bases without an end.
absl::StatusOr<ChunkLocation> ReadLocation(Connection& db, const Statement& row, int column,
                                           BaseCache& bases);

}  // namespace ckptd::catalog
