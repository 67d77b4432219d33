#include "daemon/catalog/position.h"

namespace ckptd::catalog {

absl::StatusOr<Position> ReadPosition(Connection& db) {
  ASSIGN_OR_RETURN(Statement row,
                   db.Query("SELECT catalog, sequence, digest FROM position WHERE one = 1"));
  if (!row.Next()) {
    RETURN_IF_ERROR(row.status());
    return ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
                           "The catalog does not say how far it is. Restore it from a backup.");
  }
  return Position{row.Text(0), row.Uint(1), row.DigestAt(2)};
}

absl::Status WritePosition(Connection& db, const Position& position) {
  return db.Run("UPDATE position SET catalog = ?1, sequence = ?2, digest = ?3 WHERE one = 1",
                Blob{position.catalog}, position.sequence, position.digest);
}

absl::Status LeaveJournal(Connection& db) {
  return db.Run(
      "UPDATE position SET sequence = sequence + 1, digest = randomblob(32) WHERE one = 1");
}

}  // namespace ckptd::catalog
