// Resume tickets and load reports.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "proto/model.h"

namespace ckptd::catalog {

struct TicketRow {
  int64_t id = 0;
  int64_t run_id = 0;
  uint64_t attempt = 0;
  uint64_t checkpoint_id = 0;
  std::string selector;      // as asked; the same question has the same answer
  uint32_t outcome = 0;      // v1.ResumeResponse.Outcome
  std::string explanation;
  uint32_t world_size = 1;
  absl::Time opened_at;
  absl::Time expires_at;
  uint32_t reports = 0;      // ranks that have reported
};

absl::StatusOr<std::optional<TicketRow>> FindTicket(ReadTxn& txn, int64_t id);
absl::StatusOr<std::optional<TicketRow>> FindTicketOfAttempt(ReadTxn& txn, int64_t run_id,
                                                             uint64_t attempt);
absl::StatusOr<TicketRow> InsertTicket(WriteTxn& txn, const TicketRow& ticket);
absl::Status ExtendTicket(WriteTxn& txn, int64_t id, absl::Time expires_at);
// With its reports; its id never comes again.
absl::Status DeleteTicket(WriteTxn& txn, int64_t id);
// Whether another rank than `rank` has reported that it loaded.
absl::StatusOr<bool> OtherRankLoaded(ReadTxn& txn, int64_t ticket_id, uint32_t rank);
// One report a rank; a second of the same rank replaces the first. False when it
// says what the first said: then nothing has changed.
absl::StatusOr<bool> InsertReport(WriteTxn& txn, int64_t ticket_id, uint32_t rank, bool ok,
                                  const std::string& error, bool checkpoint_at_fault,
                                  absl::Time now);
// The run's checkpoints named by tickets, also of other runs, that have neither
// lapsed nor all reports.
absl::StatusOr<std::vector<uint64_t>> ListTicketed(ReadTxn& txn, int64_t run_id, absl::Time now);
// Earliest end of such a ticket.
absl::StatusOr<std::optional<absl::Time>> NextTicketEnd(ReadTxn& txn, int64_t run_id,
                                                        absl::Time now);
// Tickets given for `checkpoint_id` since the run's last commit: resumes in a
// row that led to none.
absl::StatusOr<uint32_t> CountFruitlessResumes(ReadTxn& txn, int64_t run_id,
                                               uint64_t checkpoint_id);

}  // namespace ckptd::catalog
