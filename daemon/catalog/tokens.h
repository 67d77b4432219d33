// Tokens: who may call. daemon/access makes and recognizes their secrets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "proto/model.h"

namespace ckptd::catalog {

struct TokenRow {
  int64_t row = 0;  // grows with every token
  ckpt::Token token;
  std::string salt, hash;  // bytes
};

absl::StatusOr<std::optional<TokenRow>> FindToken(ReadTxn& txn, const std::string& id);
// The one that the call with this request id made.
absl::StatusOr<std::optional<TokenRow>> FindTokenByRequest(ReadTxn& txn,
                                                           const std::string& request_id);
// `token.row` is given here. `request_id` empty: the call had none.
absl::Status InsertToken(WriteTxn& txn, const TokenRow& token, const std::string& request_id);
absl::Status SetTokenSecret(WriteTxn& txn, int64_t row, const std::string& salt,
                            const std::string& hash);
absl::Status MarkTokenRevoked(WriteTxn& txn, int64_t row, absl::Time now);
// Later ones only: it never goes back.
absl::Status SetTokenUsed(WriteTxn& txn, const std::string& id, absl::Time at);

struct TokenFilter {
  std::optional<std::string> project;  // absent: of all, and those for all projects
  // Revoked ones, and those expired at `now`, too.
  bool include_ended = false;
  absl::Time now;
  int64_t before_row = 0;  // 0: from the newest
  uint32_t limit = 100;
};
// Newest first.
absl::StatusOr<std::vector<TokenRow>> ListTokens(ReadTxn& txn, const TokenFilter& filter);

}  // namespace ckptd::catalog
