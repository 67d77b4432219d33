// How far a catalog is: what it and its journal are compared by.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/catalog/sqlite.h"
#include "proto/digest.h"
#include "proto/status.h"

namespace ckptd::catalog {

struct Position {
  std::string catalog;    // kCatalogIdBytes, random: the same for life, also after a rebuild
  uint64_t sequence = 0;  // of the last transaction
  ckpt::Digest digest;    // of its record (journal_file.h), and so of all before
  bool operator==(const Position&) const = default;
};

inline constexpr size_t kCatalogIdBytes = 16;
// Its row is in no changeset: it names the changeset.
inline constexpr char kPositionTable[] = "position";

absl::StatusOr<Position> ReadPosition(Connection& db);
absl::Status WritePosition(Connection& db, const Position& position);
// For a transaction without a record: no journal ends here.
absl::Status LeaveJournal(Connection& db);

}  // namespace ckptd::catalog
