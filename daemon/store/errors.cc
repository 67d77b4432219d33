#include "daemon/store/errors.h"

#include <fmt/format.h>

#include "proto/names.h"

namespace ckptd {

using absl::StatusCode;
using ckpt::MakeError;
namespace reason = ckpt::reason;

absl::Status RunNotFound(const ckpt::RunName& run) {
  return MakeError(
      StatusCode::kNotFound, reason::kRunNotFound,
      fmt::format("there is no run {}; `ckptctl runs` lists those there are", run.ToString()));
}

absl::Status ProjectHasNoRuns(const std::string& project) {
  return MakeError(StatusCode::kNotFound, reason::kRunNotFound,
                   fmt::format("project {} has no runs", project));
}

absl::Status AttemptNotFound(const ckpt::RunName& run, uint64_t attempt) {
  return MakeError(
      StatusCode::kNotFound, reason::kAttemptNotFound,
      fmt::format("run {} has no attempt {}; open one first", run.ToString(), attempt));
}

absl::Status AttemptFenced(const ckpt::RunName& run, uint64_t attempt, uint64_t newest) {
  return MakeError(StatusCode::kFailedPrecondition, reason::kAttemptFenced,
                   fmt::format("attempt {} of run {} is fenced: attempt {} has taken over, so this "
                               "process should stop",
                               attempt, run.ToString(), newest));
}

absl::Status UploadNotFound(std::string_view upload_id) {
  return MakeError(StatusCode::kNotFound, reason::kUploadNotFound,
                   fmt::format("there is no open upload {}; open it again to go on",
                               ckpt::Printable(upload_id)));
}

absl::Status TicketNotFound(std::string_view ticket_id) {
  return MakeError(StatusCode::kNotFound, reason::kTicketNotFound,
                   fmt::format("there is no resume ticket {}", ckpt::Printable(ticket_id)));
}

absl::Status CheckpointNotFound(uint64_t id) {
  return MakeError(StatusCode::kNotFound, reason::kCheckpointNotFound,
                   fmt::format("there is no checkpoint with id {}", id));
}

absl::Status CheckpointRemoved(const ckpt::Checkpoint& checkpoint) {
  return MakeError(
      StatusCode::kNotFound, reason::kCheckpointRemoved,
      fmt::format("checkpoint {}@{} (id {}) was removed: {}", checkpoint.run.ToString(),
                  checkpoint.step, checkpoint.id, ckpt::ReasonsText(checkpoint.verdict)));
}

absl::Status StepContentDiffers(const ckpt::RunName& run, uint64_t step, uint32_t rank) {
  return MakeError(
      StatusCode::kAlreadyExists, reason::kStepContentDiffers,
      fmt::format("rank {} of this attempt pushed step {} of run {} before, with other "
                  "content; a step's content cannot change",
                  rank, step, run.ToString()));
}

absl::Status PacksOfAnotherCatalog(int64_t packs, uint64_t newest) {
  return MakeError(
      StatusCode::kFailedPrecondition, reason::kCatalogDamaged,
      fmt::format("the catalog {}, but {} of the packs beside it are newer: catalog.sqlite is "
                  "missing or an older copy was put in its place. Nothing was changed. Put the "
                  "catalog back that belongs to these packs; or, to give up what they hold, move "
                  "the folder packs away",
                  newest == 0 ? "is empty" : fmt::format("knows packs up to {:016x}", newest),
                  packs));
}

absl::Status BackupUnderWay() {
  return MakeError(StatusCode::kUnavailable, reason::kBackupUnderWay,
                   "a backup of the catalog is being made already; try again once it has ended");
}

absl::Status NoSpace(uint64_t needed, uint64_t free) {
  return MakeError(StatusCode::kResourceExhausted, reason::kNoSpace,
                   fmt::format("the upload needs {} bytes on the daemon's disk, but {} are free; "
                               "free some, or tighten the policy and prune",
                               needed, free));
}

absl::Status QuotaExceeded(const std::string& project, std::string_view what, uint64_t limit,
                           uint64_t used) {
  return MakeError(StatusCode::kResourceExhausted, reason::kQuotaExceeded,
                   fmt::format("project {0} may have {1} {2} and would have {3} with this push; "
                               "remove some, keep fewer (ckptctl policy set), or ask for more "
                               "(ckptctl quota get --project {0})",
                               project, limit, what, used));
}

absl::Status SelectorMatchesNothing(const ckpt::RunName& run, const ckpt::Selector& selector) {
  return MakeError(StatusCode::kNotFound, reason::kSelectorMatchesNothing,
                   fmt::format("run {} has no checkpoint for \"{}\"; `ckptctl list {}` shows those "
                               "it has",
                               run.ToString(), ckpt::ToString(selector), run.ToString()));
}

}  // namespace ckptd
