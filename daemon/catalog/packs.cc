// The calls of chunks.h on packs and on extents that go back.
#include "daemon/catalog/chunks.h"
#include "daemon/catalog/sqlite.h"

namespace ckptd::catalog {

namespace {

// Sets the hint on a pack that has nothing left in it.
constexpr char kMarkEmpty[] = R"sql(
UPDATE packs SET empty = 1
WHERE id = ?1 AND sealed = 1
  AND NOT EXISTS (SELECT 1 FROM chunks AS c WHERE c.pack = packs.id)
  AND NOT EXISTS (SELECT 1 FROM reclaims AS q WHERE q.pack = packs.id)
)sql";

absl::StatusOr<std::vector<PackId>> ReadPacks(Statement rows) {
  std::vector<PackId> packs;
  while (rows.Next()) packs.push_back(rows.Uint(0));
  RETURN_IF_ERROR(rows.status());
  return packs;
}

}  // namespace

absl::StatusOr<std::vector<Reclaim>> ListReclaims(ReadTxn& txn, uint32_t limit) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT q.row, q.pack, q.pack_offset, q.extent, q.length,
        p.sealed = 1 AND NOT EXISTS (SELECT 1 FROM chunks AS c WHERE c.pack = q.pack)
      FROM reclaims AS q JOIN packs AS p ON p.id = q.pack
      ORDER BY q.row LIMIT ?1)sql",
                                                          limit));
  std::vector<Reclaim> reclaims;
  while (rows.Next()) {
    reclaims.push_back(
        {rows.Int(0), {rows.Uint(1), rows.Uint(2), rows.Uint(3), rows.Uint32(4)}, rows.Bool(5)});
  }
  RETURN_IF_ERROR(rows.status());
  return reclaims;
}

absl::Status DeleteReclaims(WriteTxn& txn, const std::vector<int64_t>& rows) {
  Connection& db = txn.connection();
  std::vector<int64_t> packs;
  for (const int64_t row : rows) {
    ASSIGN_OR_RETURN(const std::optional<int64_t> pack,
                     db.Integer("DELETE FROM reclaims WHERE row = ?1 RETURNING pack", row));
    if (pack && (packs.empty() || packs.back() != *pack)) packs.push_back(*pack);
  }
  for (const int64_t pack : packs) RETURN_IF_ERROR(db.Run(kMarkEmpty, pack));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<OpenPack>> ListOpenPacks(ReadTxn& txn) {
  ASSIGN_OR_RETURN(Statement rows,
                   txn.connection().Query("SELECT id, shard_row FROM packs WHERE sealed = 0"));
  std::vector<OpenPack> packs;
  while (rows.Next()) packs.push_back({rows.Uint(0), rows.Int(1)});
  RETURN_IF_ERROR(rows.status());
  return packs;
}

absl::StatusOr<PackId> NewestPack(ReadTxn& txn) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> newest,
                   txn.connection().Integer("SELECT value FROM counters WHERE name = 'pack'"));
  return static_cast<PackId>(newest.value_or(0));
}

absl::StatusOr<std::vector<PackId>> ListPacks(ReadTxn& txn) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query("SELECT id FROM packs ORDER BY id"));
  return ReadPacks(std::move(rows));
}

absl::Status SealPack(WriteTxn& txn, PackId id) {
  Connection& db = txn.connection();
  RETURN_IF_ERROR(db.Run("UPDATE packs SET sealed = 1, shard_row = NULL WHERE id = ?1", id));
  return db.Run(kMarkEmpty, id);
}

absl::StatusOr<bool> IsUnsealed(ReadTxn& txn, PackId id) {
  ASSIGN_OR_RETURN(
      const std::optional<int64_t> unsealed,
      txn.connection().Integer(
          "SELECT EXISTS (SELECT 1 FROM packs WHERE id = ?1 AND sealed = 0)", id));
  return unsealed.value_or(0) != 0;
}

absl::StatusOr<std::vector<PackId>> ListEmptyPacks(ReadTxn& txn) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT p.id FROM packs AS p
      WHERE p.empty = 1 AND p.sealed = 1
        AND NOT EXISTS (SELECT 1 FROM chunks AS c WHERE c.pack = p.id)
        AND NOT EXISTS (SELECT 1 FROM reclaims AS q WHERE q.pack = p.id))sql"));
  return ReadPacks(std::move(rows));
}

absl::Status DeletePack(WriteTxn& txn, PackId id) {
  Connection& db = txn.connection();
  // A chunk that still lives in it is stopped by the foreign key, but an error
  // that says so is better.
  ASSIGN_OR_RETURN(const std::optional<int64_t> live,
                   db.Integer("SELECT EXISTS (SELECT 1 FROM chunks WHERE pack = ?1)", id));
  if (live.value_or(0) != 0) {
    return ckpt::MakeError(absl::StatusCode::kFailedPrecondition, ckpt::reason::kInternal,
                           fmt::format("Pack {} still holds chunks that are referred to.", id));
  }
  // Their space went with the file.
  RETURN_IF_ERROR(db.Run("DELETE FROM reclaims WHERE pack = ?1", id));
  return db.Run("DELETE FROM packs WHERE id = ?1", id);
}

}  // namespace ckptd::catalog
