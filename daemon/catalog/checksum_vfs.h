// A VFS of SQLite's over another one that notices each flipped bit of a
// database in WAL mode: every page carries a checksum in 8 reserved bytes,
// written with the page and compared whenever it is read; what lies in the
// write-ahead log, and its index, are kept an eye on by WalMemory.
//
// What does not agree is SQLITE_IOERR_DATA, and the log says which page. A file
// whose header reserves other than 8 bytes is passed through unchecked: it is
// for who opens it to insist (IsGuarded). Sub-page reads are checked, too;
// memory-mapped ones are not offered.
#pragma once

#include <cstdint>
#include <string>

#include "proto/status.h"

struct sqlite3;

namespace ckptd::catalog {

// The name to open with; `base` is the name of the VFS below, empty for the
// platform's. Registered by the first call, for good. INTERNAL where there is
// no such VFS.
absl::StatusOr<std::string> ChecksumVfs(const std::string& base);

// Of the main database of a connection that was opened with such a name:
// whether its pages carry checksums.
bool IsGuarded(sqlite3* db);
// Whether no other connection of this process has the database open.
bool IsOnlyUser(sqlite3* db);
// Reads all pages in the database file: the number of the first whose checksum
// is wrong, 0 where there is none. Pages that are newer in the log are not
// seen: checkpoint before. Nobody else may be writing.
absl::StatusOr<uint64_t> FindBadPage(sqlite3* db);

}  // namespace ckptd::catalog
