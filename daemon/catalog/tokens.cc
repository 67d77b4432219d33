#include "daemon/catalog/tokens.h"

#include <limits>
#include <utility>

#include "daemon/catalog/sqlite.h"

namespace ckptd::catalog {

namespace {

constexpr char kSelectToken[] = R"sql(
SELECT row, id, name, project, role, salt, hash, created_at, expires_at, last_used_at, revoked_at,
       created_by
FROM tokens
)sql";

TokenRow ReadToken(const Statement& row) {
  TokenRow token;
  token.row = row.Int(0);
  token.token.id = row.Text(1);
  token.token.name = row.Text(2);
  token.token.project = row.Text(3);
  token.token.role = static_cast<ckpt::Role>(row.Int(4));
  token.salt = row.Text(5);
  token.hash = row.Text(6);
  token.token.created_at = row.Time(7);
  token.token.expires_at = row.OptionalTime(8);
  token.token.last_used_at = row.OptionalTime(9);
  token.token.revoked_at = row.OptionalTime(10);
  token.token.created_by = row.Text(11);
  return token;
}

absl::StatusOr<std::optional<TokenRow>> FirstToken(Statement rows) {
  if (rows.Next()) return ReadToken(rows);
  RETURN_IF_ERROR(rows.status());
  return std::nullopt;
}

}  // namespace

absl::StatusOr<std::optional<TokenRow>> FindToken(ReadTxn& txn, const std::string& id) {
  const std::string sql = std::string(kSelectToken) + "WHERE id = ?1";
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, id));
  return FirstToken(std::move(rows));
}

absl::StatusOr<std::optional<TokenRow>> FindTokenByRequest(ReadTxn& txn,
                                                           const std::string& request_id) {
  const std::string sql = std::string(kSelectToken) + "WHERE request_id = ?1";
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, request_id));
  return FirstToken(std::move(rows));
}

absl::Status InsertToken(WriteTxn& txn, const TokenRow& row, const std::string& request_id) {
  const ckpt::Token& token = row.token;
  const std::optional<std::string> request =
      request_id.empty() ? std::nullopt : std::optional(request_id);
  return txn.connection().Run(R"sql(
      INSERT INTO tokens (id, name, project, role, salt, hash, request_id, created_at, expires_at,
                          created_by)
      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10))sql",
                              token.id, token.name, token.project, static_cast<int>(token.role),
                              Blob{row.salt}, Blob{row.hash}, request, token.created_at,
                              token.expires_at, token.created_by);
}

absl::Status SetTokenSecret(WriteTxn& txn, int64_t row, const std::string& salt,
                            const std::string& hash) {
  return txn.connection().Run("UPDATE tokens SET salt = ?2, hash = ?3 WHERE row = ?1", row,
                              Blob{salt}, Blob{hash});
}

absl::Status MarkTokenRevoked(WriteTxn& txn, int64_t row, absl::Time now) {
  return txn.connection().Run("UPDATE tokens SET revoked_at = ?2 WHERE row = ?1", row, now);
}

absl::Status SetTokenUsed(WriteTxn& txn, const std::string& id, absl::Time at) {
  return txn.connection().Run(R"sql(
      UPDATE tokens SET last_used_at = ?2
      WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2))sql",
                              id, at);
}

absl::StatusOr<std::vector<TokenRow>> ListTokens(ReadTxn& txn, const TokenFilter& filter) {
  const std::string page = R"sql(
      AND (?3 OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?4)))
      ORDER BY row DESC LIMIT ?1)sql";
  const std::string of_all = std::string(kSelectToken) + "WHERE row < ?2 " + page;
  const std::string of_one =
      std::string(kSelectToken) + "WHERE row < ?2 AND project = ?5 " + page;
  Connection& db = txn.connection();
  const int64_t before =
      filter.before_row == 0 ? std::numeric_limits<int64_t>::max() : filter.before_row;
  const int64_t ended = filter.include_ended ? 1 : 0;
  ASSIGN_OR_RETURN(Statement rows,
                   filter.project
                       ? db.Query(of_one, filter.limit, before, ended, filter.now, *filter.project)
                       : db.Query(of_all, filter.limit, before, ended, filter.now));
  std::vector<TokenRow> tokens;
  while (rows.Next()) tokens.push_back(ReadToken(rows));
  RETURN_IF_ERROR(rows.status());
  return tokens;
}

}  // namespace ckptd::catalog
