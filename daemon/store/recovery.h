// What a start does about a crash: finishes what was recorded, cuts back what
// was being written, removes what nobody knows of. Says each in the log.
#pragma once

#include <string>

#include <absl/time/time.h>

#include "daemon/catalog/catalog.h"
#include "daemon/chunks/chunk_store.h"
#include "daemon/os/clock.h"
#include "daemon/os/file_system.h"
#include "proto/status.h"

namespace ckptd {

// To be called before anything else uses catalog and packs. Afterwards every
// pack on disk has its row and none is open; what reclaim has left to do is in
// the catalog.
absl::Status Recover(catalog::Catalog& catalog, ChunkStore& chunks, absl::Time now);

// Makes the catalog of a data directory anew from its journal, or from `backup`
// (Catalog::Backup) and what the journal has since; empty: none. Whatever
// catalog is there is moved aside. DIRECTORY_LOCKED while a daemon runs;
// DATA_LOSS/CATALOG_DAMAGED where there is nothing to make it from.
//
// Where transactions were lost, the packs are of a later time than the catalog.
// Those that it knows nothing of are set aside, and all that it takes to be there
// is read: what was given back since is marked as damaged, so that no push is told
// that the daemon has it. That takes as long as reading the disk does; ended
// before, the scrub of the next start goes on with it.
absl::Status RebuildCatalog(const std::string& data_dir, const std::string& backup,
                            os::FileSystem* fs, os::Clock* clock);

}  // namespace ckptd
