// What a start does about a crash: finishes what was recorded, cuts back what
// was being written, removes what nobody knows of. Says each in the log.
#pragma once

#include <absl/time/time.h>

#include "daemon/catalog/catalog.h"
#include "daemon/chunks/chunk_store.h"
#include "proto/status.h"

namespace ckptd {

// To be called before anything else uses catalog and packs. Afterwards every
// pack on disk has its row and none is open; what reclaim has left to do is in
// the catalog.
absl::Status Recover(catalog::Catalog& catalog, ChunkStore& chunks, absl::Time now);

}  // namespace ckptd
