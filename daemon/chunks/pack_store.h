// The chunk store on a local file system: packs under the data directory.
#pragma once

#include <memory>
#include <string>

#include "daemon/chunks/chunk_store.h"
#include "daemon/os/file_system.h"
#include "proto/status.h"

namespace ckptd {

// Writes under way at a time, of all packs together; each has a buffer for one
// record of the largest chunk: 64 MiB in all.
inline constexpr size_t kWriteBuffers = 16;

// `fs` must outlive the store, and the store its writers. The directory must
// have been claimed (ClaimDataDir, daemon/chunks/layout.h). Creates `packs`
// where it is missing; files there that are no packs are left alone and said
// in the log.
absl::StatusOr<std::unique_ptr<ChunkStore>> OpenPackStore(os::FileSystem* fs, std::string data_dir);

}  // namespace ckptd
