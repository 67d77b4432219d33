// Cuts an unfinished pack back to what can be relied on. Internal to
// daemon/chunks.
#pragma once

#include "daemon/chunks/chunk_store.h"
#include "daemon/chunks/pack_directory.h"

namespace ckptd {

// As ChunkStore::RecoverPack; no writer may have the pack open.
//
// Records are taken from the front, each with its header and its payload's
// digest checked, and the pack is cut before the first that is torn or does
// not match. Blocks of zeros between records are passed over: an unfinished
// pack has no punched holes, but writers run side by side, and a crash can
// lose a record before one that is whole. A pack header that was lost is
// written again, since each record says to which pack it belongs.
//
// DATA_LOSS/CHUNK_DAMAGED where the file is another pack's under a wrong name,
// FAILED_PRECONDITION/VERSION_TOO_NEW where a newer version wrote it: then
// nothing is touched.
absl::StatusOr<RecoveredPack> RecoverPack(PackDirectory* packs, PackId id);

}  // namespace ckptd
