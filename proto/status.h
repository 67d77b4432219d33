// Errors: absl::Status inside, gRPC status with google.rpc details on the wire.
//
// A status that crosses the wire carries a machine-readable reason (ErrorInfo)
// and, where a field was wrong, its path (BadRequest). Both travel inside an
// absl::Status as payloads, so code between does not have to know of them.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>
#include <grpcpp/support/status.h>

namespace ckpt {

// The reasons, as sent in ErrorInfo.reason. Stable: programs compare them.
namespace reason {
inline constexpr char kBadField[] = "BAD_FIELD";
inline constexpr char kBadName[] = "BAD_NAME";
inline constexpr char kBadManifest[] = "BAD_MANIFEST";
inline constexpr char kBadFrame[] = "BAD_FRAME";
inline constexpr char kBadPolicy[] = "BAD_POLICY";
inline constexpr char kDigestMismatch[] = "DIGEST_MISMATCH";
inline constexpr char kTooLarge[] = "TOO_LARGE";
inline constexpr char kRunNotFound[] = "RUN_NOT_FOUND";
inline constexpr char kAttemptNotFound[] = "ATTEMPT_NOT_FOUND";
inline constexpr char kUploadNotFound[] = "UPLOAD_NOT_FOUND";
inline constexpr char kCheckpointNotFound[] = "CHECKPOINT_NOT_FOUND";
inline constexpr char kEntryNotFound[] = "ENTRY_NOT_FOUND";
inline constexpr char kRankNotFound[] = "RANK_NOT_FOUND";
inline constexpr char kTicketNotFound[] = "TICKET_NOT_FOUND";
inline constexpr char kPinNotFound[] = "PIN_NOT_FOUND";
inline constexpr char kAliasNotFound[] = "ALIAS_NOT_FOUND";
inline constexpr char kSelectorMatchesNothing[] = "SELECTOR_MATCHES_NOTHING";
inline constexpr char kNoWholeCheckpoint[] = "NO_WHOLE_CHECKPOINT";
inline constexpr char kResumeRequired[] = "RESUME_REQUIRED";
inline constexpr char kAttemptFenced[] = "ATTEMPT_FENCED";
inline constexpr char kWorldSizeDiffers[] = "WORLD_SIZE_DIFFERS";
inline constexpr char kStepContentDiffers[] = "STEP_CONTENT_DIFFERS";
inline constexpr char kChunksMissing[] = "CHUNKS_MISSING";
inline constexpr char kUploadFailed[] = "UPLOAD_FAILED";
inline constexpr char kLastCheckpoint[] = "LAST_CHECKPOINT";
inline constexpr char kCheckpointHeld[] = "CHECKPOINT_HELD";
inline constexpr char kCheckpointRemoved[] = "CHECKPOINT_REMOVED";
inline constexpr char kNotRestorable[] = "NOT_RESTORABLE";
inline constexpr char kPolicyChanged[] = "POLICY_CHANGED";
inline constexpr char kRequestIdReused[] = "REQUEST_ID_REUSED";
inline constexpr char kTokenMissing[] = "TOKEN_MISSING";
inline constexpr char kTokenInvalid[] = "TOKEN_INVALID";
inline constexpr char kTokenNotFound[] = "TOKEN_NOT_FOUND";
inline constexpr char kRoleTooLow[] = "ROLE_TOO_LOW";
inline constexpr char kProjectDenied[] = "PROJECT_DENIED";
inline constexpr char kQuotaExceeded[] = "QUOTA_EXCEEDED";
inline constexpr char kStreamIdle[] = "STREAM_IDLE";
inline constexpr char kBackupUnderWay[] = "BACKUP_UNDER_WAY";
inline constexpr char kNoSpace[] = "NO_SPACE";
inline constexpr char kReadOnly[] = "READ_ONLY";
inline constexpr char kIoError[] = "IO_ERROR";
inline constexpr char kChunkDamaged[] = "CHUNK_DAMAGED";
inline constexpr char kManifestDamaged[] = "MANIFEST_DAMAGED";
inline constexpr char kCatalogDamaged[] = "CATALOG_DAMAGED";
inline constexpr char kVersionTooNew[] = "VERSION_TOO_NEW";
inline constexpr char kDirectoryLocked[] = "DIRECTORY_LOCKED";
inline constexpr char kDraining[] = "DRAINING";
inline constexpr char kUnreachable[] = "UNREACHABLE";
inline constexpr char kInternal[] = "INTERNAL";
}  // namespace reason

// A status with a reason; `text` is one sentence: what was wrong, where, and
// what to do.
absl::Status MakeError(absl::StatusCode code, std::string_view reason, std::string_view text);

// INVALID_ARGUMENT with a BadRequest naming `field`.
absl::Status BadField(std::string_view field, std::string_view text,
                      std::string_view reason = reason::kBadField);

// The reason that `status` carries; empty where it has none.
std::string ReasonOf(const absl::Status& status);
inline bool HasReason(const absl::Status& status, std::string_view reason) {
  return ReasonOf(status) == reason;
}

// `context` put before the message; code, reason and fields stay.
absl::Status Annotate(const absl::Status& status, std::string_view context);

// To and from the wire, details included. A status without a reason goes out
// with "INTERNAL" or, from the peer's gRPC library itself, comes in without one.
grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace ckpt

#define CKPT_CONCAT_INNER(a, b) a##b
#define CKPT_CONCAT(a, b) CKPT_CONCAT_INNER(a, b)

// Returns the status from the enclosing function unless it is OK.
#define RETURN_IF_ERROR(expr)                              \
  do {                                                     \
    if (absl::Status ckpt_status = (expr); !ckpt_status.ok()) return ckpt_status; \
  } while (false)

// ASSIGN_OR_RETURN(auto value, F()): the value, or returns F's status.
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_INNER(CKPT_CONCAT(ckpt_or_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                           \
  if (!tmp.ok()) return tmp.status();          \
  lhs = *std::move(tmp)
