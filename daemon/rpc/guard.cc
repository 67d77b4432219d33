#include "daemon/rpc/guard.h"

#include <cstring>
#include <iterator>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <grpc/grpc_security_constants.h>

#include "daemon/store/errors.h"
#include "proto/channel.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckptd {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

absl::Status Unauthenticated(std::string_view reason, std::string_view text) {
  return ckpt::MakeError(absl::StatusCode::kUnauthenticated, reason, text);
}

absl::Status NoSuchCall(std::string_view method) {
  return ckpt::MakeError(absl::StatusCode::kPermissionDenied, ckpt::reason::kRoleTooLow,
                         fmt::format("nobody may call {}: it has no rule", method));
}

// The token's text out of the call's metadata.
absl::StatusOr<std::string> TokenOf(const grpc::ServerContextBase& context) {
  const auto [first, last] = context.client_metadata().equal_range(ckpt::kTokenHeader);
  if (first == last) {
    return Unauthenticated(ckpt::reason::kTokenMissing,
                           "this daemon asks for a token: name the file that holds yours in "
                           "CKPTD_TOKEN_FILE, or in token_file of ~/.config/ckptd/client.toml");
  }
  const std::string_view value(first->second.data(), first->second.size());
  if (std::next(first) != last || !value.starts_with(ckpt::kTokenScheme)) {
    return Unauthenticated(ckpt::reason::kTokenInvalid,
                           fmt::format("{} is one \"{}TOKEN\" and nothing else", ckpt::kTokenHeader,
                                       ckpt::kTokenScheme));
  }
  return std::string(value.substr(std::strlen(ckpt::kTokenScheme)));
}

AuditEntry EntryOf(std::string_view method, const grpc::ServerContextBase& context,
                   absl::Status outcome) {
  AuditEntry entry;
  entry.method = std::string(method);
  entry.peer = context.peer();
  if (const auto peer = context.auth_context(); peer != nullptr) {
    const auto names = peer->FindPropertyValues(GRPC_X509_CN_PROPERTY_NAME);
    if (!names.empty()) entry.peer_identity = std::string(names[0].data(), names[0].size());
  }
  entry.outcome = std::move(outcome);
  return entry;
}

// Fields by name: rules.cc says which there are, and a test that they are.
const FieldDescriptor* Field(const Message& message, const char* name) {
  return message.GetDescriptor()->FindFieldByName(name);
}
bool Has(const Message& message, const char* name) {
  return message.GetReflection()->HasField(message, Field(message, name));
}
std::string Text(const Message& message, const char* name) {
  return message.GetReflection()->GetString(message, Field(message, name));
}
std::string ProjectOrDefault(std::string project) {
  return project.empty() ? ckpt::kDefaultProject : project;
}
// Of a message with a field `project`.
std::string ProjectOf(const Message& message) { return ProjectOrDefault(Text(message, "project")); }
std::string ProjectOfRun(const Message& message, const char* run) {
  return ProjectOf(message.GetReflection()->GetMessage(message, Field(message, run)));
}

}  // namespace

absl::StatusOr<Caller> Guard::Admit(std::string_view method, const grpc::ServerContextBase& context,
                                    const Message& request) const {
  ASSIGN_OR_RETURN(Caller caller, Identify(method, context));
  RETURN_IF_ERROR(CheckNamed(method, context, caller, request));
  return caller;
}

absl::StatusOr<Caller> Guard::Identify(std::string_view method,
                                       const grpc::ServerContextBase& context) const {
  if (!asks_) return Caller();
  absl::StatusOr<Caller> caller = CallerOf(context);
  absl::Status status = caller.ok() ? CheckRole(method, *caller) : caller.status();
  if (status.ok()) return caller;
  AuditEntry entry = EntryOf(method, context, std::move(status));
  if (caller.ok()) entry.caller = &*caller;
  audit_->RecordRefusal(entry);
  return entry.outcome;
}

absl::Status Guard::CheckNamed(std::string_view method, const grpc::ServerContextBase& context,
                               const Caller& caller, const Message& request) const {
  const Rule* rule = FindRule(method);
  absl::Status status = rule == nullptr ? NoSuchCall(method) : CheckOwner(*rule, caller, request);
  if (status.ok()) return status;
  AuditEntry entry = EntryOf(method, context, std::move(status));
  entry.caller = &caller;
  entry.request = &request;
  audit_->RecordRefusal(entry);
  return entry.outcome;
}

void Guard::Record(std::string_view method, const grpc::ServerContextBase& context,
                   const Caller& caller, const Message& request, const std::string& made,
                   const absl::Status& outcome) const {
  const Rule* rule = FindRule(method);
  if (rule == nullptr || !rule->audited) return;
  // A dry run does nothing.
  const FieldDescriptor* dry_run = Field(request, "dry_run");
  if (dry_run != nullptr && request.GetReflection()->GetBool(request, dry_run)) return;
  AuditEntry entry = EntryOf(method, context, outcome);
  entry.caller = &caller;
  entry.request = &request;
  entry.made = made;
  audit_->Record(entry);
}

absl::StatusOr<Caller> Guard::CallerOf(const grpc::ServerContextBase& context) const {
  ASSIGN_OR_RETURN(const std::string token, TokenOf(context));
  return tokens_->Recognize(token);
}

absl::Status Guard::CheckRole(std::string_view method, const Caller& caller) const {
  const Rule* rule = FindRule(method);
  if (rule == nullptr) return NoSuchCall(method);
  if (caller.role >= rule->role) return absl::OkStatus();
  return ckpt::MakeError(
      absl::StatusCode::kPermissionDenied, ckpt::reason::kRoleTooLow,
      fmt::format("{} takes a token with role {}, but token {} has role {}", method,
                  ckpt::RoleName(rule->role), caller.token_id, ckpt::RoleName(caller.role)));
}

absl::Status Guard::CheckProject(const Caller& caller, std::string_view project) const {
  if (caller.Covers(project)) return absl::OkStatus();
  return ckpt::MakeError(
      absl::StatusCode::kPermissionDenied, ckpt::reason::kProjectDenied,
      fmt::format("token {} is for project {} and not for {}; a run of its "
                  "project is named {}/RUN",
                  caller.token_id, *caller.project, ckpt::Printable(project), *caller.project));
}

absl::Status Guard::CheckForAll(std::string_view what, const Caller& caller) const {
  if (!caller.project) return absl::OkStatus();
  return ckpt::MakeError(absl::StatusCode::kPermissionDenied, ckpt::reason::kProjectDenied,
                         fmt::format("{} takes a token for all projects, but token {} is for "
                                     "project {}",
                                     what, caller.token_id, *caller.project));
}

absl::Status Guard::CheckOwner(const Rule& rule, const Caller& caller,
                               const Message& request) const {
  if (!caller.project) return absl::OkStatus();
  if (rule.for_all) RETURN_IF_ERROR(CheckForAll(rule.method, caller));
  // What never was is for the call itself to say.
  const auto is_foreign = [&](const std::optional<std::string>& project) {
    return project && !caller.Covers(*project);
  };
  const auto check_checkpoint = [&]() -> absl::Status {
    const uint64_t id =
        request.GetReflection()->GetUInt64(request, Field(request, "checkpoint_id"));
    ASSIGN_OR_RETURN(const auto project, store_->ProjectOfCheckpoint(id));
    return is_foreign(project) ? CheckpointNotFound(id) : absl::OkStatus();
  };
  switch (rule.names) {
    case Names::kNothing:
      return absl::OkStatus();
    case Names::kRun:
      return CheckProject(caller, ProjectOfRun(request, "run"));
    case Names::kRunAndSource:
      RETURN_IF_ERROR(CheckProject(caller, ProjectOfRun(request, "run")));
      if (!Has(request, "from_run")) return absl::OkStatus();
      return CheckProject(caller, ProjectOfRun(request, "from_run"));
    case Names::kRunOrNothing:
      if (!Has(request, "run")) return absl::OkStatus();
      return CheckProject(caller, ProjectOfRun(request, "run"));
    case Names::kRunOrDaemon:
      if (!Has(request, "run")) {
        return CheckForAll(fmt::format("{} of the whole daemon", rule.method), caller);
      }
      return CheckProject(caller, ProjectOfRun(request, "run"));
    case Names::kRunOrProject:
      return CheckProject(caller,
                          Has(request, "run") ? ProjectOfRun(request, "run") : ProjectOf(request));
    case Names::kProject:
      return CheckProject(caller, ProjectOf(request));
    case Names::kProjectOrOwn:
      if (Text(request, "project").empty()) return absl::OkStatus();
      return CheckProject(caller, ProjectOf(request));
    case Names::kProjectOrDaemon:
      if (request.GetReflection()->GetBool(request, Field(request, "all_projects"))) {
        return CheckForAll(fmt::format("{} for all projects", rule.method), caller);
      }
      return CheckProject(caller, ProjectOf(request));
    case Names::kCheckpoint:
      return check_checkpoint();
    case Names::kCheckpointOrRun:
      if (Has(request, "checkpoint_id")) return check_checkpoint();
      return CheckProject(caller, ProjectOfRun(request, "run"));
    case Names::kUpload: {
      const std::string id = Text(request, "upload_id");
      ASSIGN_OR_RETURN(const auto project, store_->ProjectOfUpload(id));
      return is_foreign(project) ? UploadNotFound(id) : absl::OkStatus();
    }
    case Names::kTicket: {
      const std::string id = Text(request, "ticket_id");
      ASSIGN_OR_RETURN(const auto project, store_->ProjectOfTicket(id));
      return is_foreign(project) ? TicketNotFound(id) : absl::OkStatus();
    }
    case Names::kToken: {
      const std::string id = Text(request, "token_id");
      ASSIGN_OR_RETURN(const auto project, tokens_->ProjectOf(id));
      return is_foreign(project) ? TokenNotFound(id) : absl::OkStatus();
    }
  }
  return NoSuchCall(rule.method);
}

}  // namespace ckptd
