#include "daemon/catalog/answers.h"

#include "daemon/catalog/sqlite.h"

namespace ckptd::catalog {

absl::StatusOr<std::optional<std::string>> FindAnswer(ReadTxn& txn, const RequestKey& key) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT method, request, answer FROM answers WHERE request_id = ?1)sql",
                                                          key.id));
  if (!rows.Next()) {
    if (!rows.status().ok()) return rows.status();
    return std::nullopt;
  }
  if (rows.View(0) != key.method || rows.DigestAt(1) != key.request) {
    return ckpt::BadField("ckpt-request-id",
                          fmt::format("request id {} was given to another call of {} before; every "
                                      "call needs an id of its own, and only its repetitions the "
                                      "same one",
                                      key.id, rows.Text(0)),
                          ckpt::reason::kRequestIdReused);
  }
  return rows.Text(2);
}

absl::Status InsertAnswer(WriteTxn& txn, const RequestKey& key, const std::string& answer,
                          absl::Time now) {
  Connection& db = txn.connection();
  RETURN_IF_ERROR(db.Run(R"sql(
      INSERT INTO answers (request_id, method, request, answer, answered_at)
      VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING)sql",
                         key.id, key.method, key.request, Blob{answer}, now));
  if (db.changes() == 1) return absl::OkStatus();
  return ckpt::MakeError(absl::StatusCode::kAborted, ckpt::reason::kInternal,
                         fmt::format("the call with request id {} was answered meanwhile", key.id));
}

absl::StatusOr<int64_t> DeleteAnswers(WriteTxn& txn, absl::Time before, uint32_t limit) {
  Connection& db = txn.connection();
  RETURN_IF_ERROR(db.Run(R"sql(
      DELETE FROM answers WHERE row IN (
        SELECT row FROM answers WHERE answered_at < ?1 ORDER BY answered_at LIMIT ?2))sql",
                         before, limit));
  return db.changes();
}

absl::StatusOr<std::optional<absl::Time>> OldestAnswer(ReadTxn& txn) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> oldest,
                   txn.connection().Integer("SELECT MIN(answered_at) FROM answers"));
  if (!oldest) return std::nullopt;
  return absl::FromUnixNanos(*oldest);
}

}  // namespace ckptd::catalog
