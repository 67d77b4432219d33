// Packs that were written after all that the catalog knows: of transactions that
// were lost with its journal.
#pragma once

#include <absl/time/time.h>

#include "daemon/chunks/chunk_store.h"
#include "daemon/chunks/layout.h"
#include "daemon/os/file_system.h"
#include "proto/status.h"

namespace ckptd {

// Moves the packs with numbers above `newest`, which the catalog will give again,
// to a folder beside them: nothing that may be the only copy of something is
// removed. How many there were; none: there is no folder. To be called while
// nobody else uses the packs. Durable when OK; may be called again after a crash.
absl::StatusOr<uint64_t> SetAsideNewerPacks(os::FileSystem* fs, const Layout& layout, PackId newest,
                                            absl::Time now);

}  // namespace ckptd
