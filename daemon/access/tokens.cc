#include "daemon/access/tokens.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/access/secret.h"
#include "daemon/catalog/tokens.h"
#include "proto/names.h"

namespace ckptd {
namespace {

// How often uses are written down. A call does not wait for it.
constexpr absl::Duration kUsesInterval = absl::Minutes(1);

// One sentence whatever is wrong: who tries learns nothing from it.
absl::Status TokenInvalid() {
  return ckpt::MakeError(absl::StatusCode::kUnauthenticated, ckpt::reason::kTokenInvalid,
                         "the token is not one of this daemon's, was revoked or has expired; ask "
                         "whoever runs it for another");
}

bool IsEnded(const ckpt::Token& token, absl::Time now) {
  return token.revoked_at.has_value() || token.expires_at.value_or(absl::InfiniteFuture()) <= now;
}

// Whether it is the token that a call like this one would make.
bool IsAsAsked(const ckpt::Token& token, const ckpt::TokenSpec& spec,
               const std::string& created_by) {
  const absl::Duration lifetime =
      token.expires_at.value_or(absl::InfiniteFuture()) - token.created_at;
  return token.name == spec.name && token.project == spec.project && token.role == spec.role &&
         lifetime == spec.lifetime.value_or(absl::InfiniteDuration()) &&
         token.created_by == created_by;
}

absl::Status RequestIdReused(const std::string& request_id) {
  return ckpt::BadField("ckpt-request-id",
                        fmt::format("request id {} made another token, or one that is in use; "
                                    "every call needs an id of its own",
                                    ckpt::Printable(request_id)),
                        ckpt::reason::kRequestIdReused);
}

}  // namespace

absl::Status TokenNotFound(std::string_view id) {
  return ckpt::MakeError(absl::StatusCode::kNotFound, ckpt::reason::kTokenNotFound,
                         fmt::format("there is no token with id {}; `ckptctl token list` shows "
                                     "those there are",
                                     ckpt::Printable(id)));
}

Tokens::Tokens(catalog::Catalog* catalog, os::Clock* clock)
    : catalog_(catalog), clock_(clock), keeper_([this] { KeepUses(); }) {}

Tokens::~Tokens() {
  {
    absl::MutexLock lock(&uses_mutex_);
    stopping_ = true;
  }
  keeper_.join();
}

absl::StatusOr<Caller> Tokens::Recognize(std::string_view text) {
  const std::optional<TokenText> parsed = ParseTokenText(text);
  if (!parsed) return TokenInvalid();
  Caller caller;
  // Before the look: a revocation in between is found by CheckAgain.
  caller.revocations = revocations_;
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(const auto row, catalog::FindToken(*txn, parsed->id));
  const absl::Time now = clock_->Now();
  if (!row || !IsSecret(parsed->secret, {row->salt, row->hash}) || IsEnded(row->token, now)) {
    return TokenInvalid();
  }
  caller.token_id = row->token.id;
  caller.token_name = row->token.name;
  if (!row->token.project.empty()) caller.project = row->token.project;
  caller.role = row->token.role;
  caller.expires_at = row->token.expires_at.value_or(absl::InfiniteFuture());
  absl::MutexLock lock(&uses_mutex_);
  uses_[caller.token_id] = now;
  return caller;
}

absl::Status Tokens::CheckAgain(Caller& caller) {
  if (caller.token_id.empty()) return absl::OkStatus();
  if (caller.expires_at <= clock_->Now()) return TokenInvalid();
  const uint64_t revocations = revocations_;
  if (caller.revocations == revocations) return absl::OkStatus();
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(const auto row, catalog::FindToken(*txn, caller.token_id));
  if (!row || IsEnded(row->token, clock_->Now())) return TokenInvalid();
  caller.revocations = revocations;
  return absl::OkStatus();
}

absl::StatusOr<Tokens::Made> Tokens::Create(const ckpt::TokenSpec& spec,
                                            const std::string& created_by,
                                            const std::string& request_id) {
  ASSIGN_OR_RETURN(TokenText text, NewTokenText());
  ASSIGN_OR_RETURN(const KeptSecret kept, KeepSecret(text.secret));
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  if (!request_id.empty()) {
    ASSIGN_OR_RETURN(const auto before, catalog::FindTokenByRequest(*txn, request_id));
    if (before) {
      const ckpt::Token& token = before->token;
      bool used = token.last_used_at.has_value() || token.revoked_at.has_value();
      {
        absl::MutexLock lock(&uses_mutex_);
        used |= uses_.contains(token.id);
      }
      if (used || !IsAsAsked(token, spec, created_by)) return RequestIdReused(request_id);
      text.id = token.id;
      RETURN_IF_ERROR(catalog::SetTokenSecret(*txn, before->row, kept.salt, kept.hash));
      RETURN_IF_ERROR(txn->Commit());
      return Made{token, text.ToString()};
    }
  }
  catalog::TokenRow row;
  row.token.id = text.id;
  row.token.name = spec.name;
  row.token.project = spec.project;
  row.token.role = spec.role;
  row.token.created_at = clock_->Now();
  if (spec.lifetime) row.token.expires_at = row.token.created_at + *spec.lifetime;
  row.token.created_by = created_by;
  row.salt = kept.salt;
  row.hash = kept.hash;
  RETURN_IF_ERROR(catalog::InsertToken(*txn, row, request_id));
  RETURN_IF_ERROR(txn->Commit());
  return Made{row.token, text.ToString()};
}

absl::StatusOr<Tokens::Page> Tokens::List(const std::optional<std::string>& project,
                                          bool include_ended, uint64_t before, uint32_t limit) {
  catalog::TokenFilter filter;
  filter.project = project;
  filter.include_ended = include_ended;
  filter.now = clock_->Now();
  filter.before_row = static_cast<int64_t>(before);
  filter.limit = limit;
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(const auto rows, catalog::ListTokens(*txn, filter));
  Page page;
  absl::MutexLock lock(&uses_mutex_);
  for (const catalog::TokenRow& row : rows) {
    ckpt::Token& token = page.tokens.emplace_back(row.token);
    if (const auto used = uses_.find(token.id); used != uses_.end()) {
      token.last_used_at = used->second;
    }
  }
  if (rows.size() == limit) page.next = static_cast<uint64_t>(rows.back().row);
  return page;
}

absl::StatusOr<ckpt::Token> Tokens::Revoke(const std::string& id) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(auto row, catalog::FindToken(*txn, id));
  if (!row) return TokenNotFound(id);
  if (row->token.revoked_at) return row->token;
  row->token.revoked_at = clock_->Now();
  RETURN_IF_ERROR(catalog::MarkTokenRevoked(*txn, row->row, *row->token.revoked_at));
  RETURN_IF_ERROR(txn->Commit());
  ++revocations_;
  return row->token;
}

absl::StatusOr<std::optional<std::string>> Tokens::ProjectOf(const std::string& id) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(const auto row, catalog::FindToken(*txn, id));
  if (!row) return std::nullopt;
  return row->token.project;
}

absl::StatusOr<bool> Tokens::HasAdmin() {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  catalog::TokenFilter filter;
  filter.project = "";  // those for all
  filter.now = clock_->Now();
  filter.limit = 1000;
  ASSIGN_OR_RETURN(const auto rows, catalog::ListTokens(*txn, filter));
  return std::ranges::any_of(
      rows, [](const catalog::TokenRow& row) { return row.token.role == ckpt::Role::kAdmin; });
}

void Tokens::KeepUses() {
  while (true) {
    bool stopping;
    {
      absl::MutexLock lock(&uses_mutex_);
      stopping = uses_mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kUsesInterval);
    }
    if (absl::Status written = WriteUses(); !written.ok()) {
      spdlog::warn("when tokens were last used is not on disk: {}", std::string(written.message()));
    }
    if (stopping) return;
  }
}

absl::Status Tokens::WriteUses() {
  std::map<std::string, absl::Time> uses;
  {
    absl::MutexLock lock(&uses_mutex_);
    uses = uses_;
  }
  if (uses.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  for (const auto& [id, at] : uses) RETURN_IF_ERROR(catalog::SetTokenUsed(*txn, id, at));
  RETURN_IF_ERROR(txn->Commit());
  absl::MutexLock lock(&uses_mutex_);
  // What was used again meanwhile is for the next time.
  for (const auto& [id, at] : uses) {
    if (const auto it = uses_.find(id); it != uses_.end() && it->second == at) uses_.erase(it);
  }
  return absl::OkStatus();
}

}  // namespace ckptd
