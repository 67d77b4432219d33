// Tokens and quotas.
#include <fmt/format.h>

#include "proto/convert.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckpt {
namespace {

v1::Quota::Limit ToLimit(const Quota::Limit& limit) {
  v1::Quota::Limit message;
  message.set_limit(limit.limit);
  message.set_is_default(limit.is_default);
  message.set_used(limit.used);
  return message;
}

Quota::Limit FromLimit(const v1::Quota::Limit& message) {
  return {message.limit(), message.is_default(), message.used()};
}

v1::QuotaChange ToChange(const QuotaChange::Limit& change) {
  v1::QuotaChange message;
  if (!change.limit) {
    message.set_use_default(true);
  } else if (*change.limit == 0) {
    message.set_none(true);
  } else {
    message.set_limit(*change.limit);
  }
  return message;
}

absl::StatusOr<QuotaChange::Limit> FromChange(const char* field, const v1::QuotaChange& message) {
  switch (message.change_case()) {
    case v1::QuotaChange::kLimit:
      if (message.limit() > 0) return QuotaChange::Limit{message.limit()};
      return BadField(field, fmt::format("a quota of zero {} would refuse every push; say none for "
                                         "no limit",
                                         field));
    case v1::QuotaChange::kNone:
      return QuotaChange::Limit{uint64_t{0}};
    case v1::QuotaChange::kUseDefault:
      return QuotaChange::Limit{};
    case v1::QuotaChange::CHANGE_NOT_SET:
      break;
  }
  return BadField(field, fmt::format("{}: say a limit, none, or use_default", field));
}

}  // namespace

v1::Quota ToProto(const Quota& quota) {
  v1::Quota message;
  message.set_project(quota.project);
  *message.mutable_bytes() = ToLimit(quota.bytes);
  *message.mutable_checkpoints() = ToLimit(quota.checkpoints);
  *message.mutable_uploads() = ToLimit(quota.uploads);
  return message;
}

Quota FromProto(const v1::Quota& message) {
  return {message.project(), FromLimit(message.bytes()), FromLimit(message.checkpoints()),
          FromLimit(message.uploads())};
}

v1::SetQuotaRequest ToProto(const std::string& project, const QuotaChange& change) {
  v1::SetQuotaRequest message;
  message.set_project(project);
  if (change.bytes) *message.mutable_bytes() = ToChange(*change.bytes);
  if (change.checkpoints) *message.mutable_checkpoints() = ToChange(*change.checkpoints);
  if (change.uploads) *message.mutable_uploads() = ToChange(*change.uploads);
  return message;
}

absl::StatusOr<QuotaChange> FromProto(const v1::SetQuotaRequest& message) {
  QuotaChange change;
  if (message.has_bytes()) {
    ASSIGN_OR_RETURN(change.bytes, FromChange("bytes", message.bytes()));
  }
  if (message.has_checkpoints()) {
    ASSIGN_OR_RETURN(change.checkpoints, FromChange("checkpoints", message.checkpoints()));
  }
  if (message.has_uploads()) {
    ASSIGN_OR_RETURN(change.uploads, FromChange("uploads", message.uploads()));
  }
  if (!change.bytes && !change.checkpoints && !change.uploads) {
    return BadField("quota", "no limit is named; say bytes, checkpoints or uploads");
  }
  return change;
}

v1::Token ToProto(const Token& token) {
  v1::Token message;
  message.set_id(token.id);
  message.set_name(token.name);
  message.set_project(token.project);
  message.set_role(static_cast<v1::Role>(token.role));
  *message.mutable_created_at() = ToProto(token.created_at);
  if (token.expires_at) *message.mutable_expires_at() = ToProto(*token.expires_at);
  if (token.last_used_at) *message.mutable_last_used_at() = ToProto(*token.last_used_at);
  if (token.revoked_at) *message.mutable_revoked_at() = ToProto(*token.revoked_at);
  message.set_created_by(token.created_by);
  return message;
}

Token FromProto(const v1::Token& message) {
  Token token;
  token.id = message.id();
  token.name = message.name();
  token.project = message.project();
  token.role = static_cast<Role>(message.role());
  token.created_at = FromProto(message.created_at());
  if (message.has_expires_at()) token.expires_at = FromProto(message.expires_at());
  if (message.has_last_used_at()) token.last_used_at = FromProto(message.last_used_at());
  if (message.has_revoked_at()) token.revoked_at = FromProto(message.revoked_at());
  token.created_by = message.created_by();
  return token;
}

v1::CreateTokenRequest ToProto(const TokenSpec& spec) {
  v1::CreateTokenRequest message;
  message.set_project(spec.project);
  message.set_all_projects(spec.project.empty());
  message.set_role(static_cast<v1::Role>(spec.role));
  message.set_name(spec.name);
  if (spec.lifetime) *message.mutable_lifetime() = ToProto(*spec.lifetime);
  return message;
}

absl::StatusOr<TokenSpec> FromProto(const v1::CreateTokenRequest& message) {
  TokenSpec spec;
  spec.name = message.name();
  RETURN_IF_ERROR(CheckLabelName("token name", spec.name));
  if (message.all_projects() && !message.project().empty()) {
    return BadField("project", "a token is for one project or for all of them, not both");
  }
  if (!message.all_projects()) {
    spec.project = message.project().empty() ? kDefaultProject : message.project();
    RETURN_IF_ERROR(CheckName("project name", spec.project));
  }
  if (message.role() < v1::ROLE_READ || message.role() > v1::ROLE_ADMIN) {
    return BadField("role", "a token's role is read, write or admin");
  }
  spec.role = static_cast<Role>(message.role());
  if (message.has_lifetime()) {
    spec.lifetime = FromProto(message.lifetime());
    if (*spec.lifetime <= absl::ZeroDuration() ||
        *spec.lifetime > absl::Hours(24) * kMaxTokenDays) {
      return BadField("lifetime", fmt::format("a token lives longer than no time and at most {} "
                                              "days; leave it out for one that lives until it is "
                                              "revoked",
                                              kMaxTokenDays));
    }
  }
  return spec;
}

}  // namespace ckpt
