// A snapshot of the catalog as the bytes of a file: N.snapshot of the journal
// (journal_file.h), and what a backup is.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "daemon/catalog/journal_file.h"
#include "daemon/catalog/sqlite.h"
#include "proto/status.h"

namespace ckptd::catalog {

// The file goes on with these bytes: whole blocks that can be written with
// direct I/O.
using ByteSink = std::function<absl::Status(std::span<const std::byte>)>;

// In the transaction that `db` is in, at the head's position. A failure of
// `sink` ends it.
absl::Status WriteSnapshotFile(Connection& db, const Head& head, const ByteSink& sink);

}  // namespace ckptd::catalog
