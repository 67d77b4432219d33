// Whose a thing is that is named by its id alone.
#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/resumes.h"
#include "daemon/catalog/runs.h"
#include "daemon/catalog/uploads.h"
#include "daemon/store/store.h"
#include "daemon/store/tickets.h"

namespace ckptd {
namespace {

absl::StatusOr<std::optional<std::string>> ProjectOfRun(catalog::ReadTxn& txn, int64_t run_id) {
  ASSIGN_OR_RETURN(const auto run, catalog::FindRunById(txn, run_id));
  if (!run) return std::nullopt;
  return run->name.project;
}

}  // namespace

absl::StatusOr<std::optional<std::string>> Store::ProjectOfCheckpoint(uint64_t id) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(const auto checkpoint, catalog::FindCheckpoint(*txn, id));
  if (!checkpoint) return std::nullopt;
  return checkpoint->run.project;
}

absl::StatusOr<std::optional<std::string>> Store::ProjectOfUpload(const std::string& upload_id) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(const auto row, catalog::FindUploadByRow(*txn, Upload::RowOf(upload_id)));
  if (!row) return std::nullopt;
  return ProjectOfRun(*txn, row->run_id);
}

absl::StatusOr<std::optional<std::string>> Store::ProjectOfTicket(const std::string& ticket_id) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(const auto ticket, catalog::FindTicket(*txn, TicketRowOf(ticket_id)));
  if (!ticket) return std::nullopt;
  return ProjectOfRun(*txn, ticket->run_id);
}

}  // namespace ckptd
