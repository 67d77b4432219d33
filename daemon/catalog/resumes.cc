#include "daemon/catalog/resumes.h"

#include <utility>

#include "daemon/catalog/sqlite.h"

namespace ckptd::catalog {

namespace {

constexpr char kSelectTicket[] = R"sql(
SELECT t.id, t.run_id, t.attempt, t.checkpoint_id, t.selector, t.outcome, t.explanation,
       t.world_size, t.opened_at, t.expires_at,
       (SELECT COUNT(*) FROM reports AS q WHERE q.ticket_id = t.id)
FROM tickets AS t
)sql";

absl::StatusOr<std::optional<TicketRow>> FirstTicket(Statement rows) {
  if (!rows.Next()) {
    if (!rows.status().ok()) return rows.status();
    return std::nullopt;
  }
  TicketRow ticket;
  ticket.id = rows.Int(0);
  ticket.run_id = rows.Int(1);
  ticket.attempt = rows.Uint(2);
  ticket.checkpoint_id = rows.Uint(3);
  ticket.selector = rows.Text(4);
  ticket.outcome = rows.Uint32(5);
  ticket.explanation = rows.Text(6);
  ticket.world_size = rows.Uint32(7);
  ticket.opened_at = rows.Time(8);
  ticket.expires_at = rows.Time(9);
  ticket.reports = rows.Uint32(10);
  return ticket;
}

absl::Status NoSuchTicket() {
  return ckpt::MakeError(absl::StatusCode::kNotFound, ckpt::reason::kTicketNotFound,
                         "There is no such resume ticket: ask to resume again.");
}

}  // namespace

absl::StatusOr<std::optional<TicketRow>> FindTicket(ReadTxn& txn, int64_t id) {
  const std::string sql = std::string(kSelectTicket) + "WHERE t.id = ?1";
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, id));
  return FirstTicket(std::move(rows));
}

absl::StatusOr<std::optional<TicketRow>> FindTicketOfAttempt(ReadTxn& txn, int64_t run_id,
                                                             uint64_t attempt) {
  const std::string sql =
      std::string(kSelectTicket) + "WHERE t.run_id = ?1 AND t.attempt = ?2";
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(sql, run_id, attempt));
  return FirstTicket(std::move(rows));
}

absl::StatusOr<TicketRow> InsertTicket(WriteTxn& txn, const TicketRow& ticket) {
  Connection& db = txn.connection();
  // The run's newest commit goes with it: tickets since then are told by that,
  // not by a clock.
  RETURN_IF_ERROR(db.Run(R"sql(
      INSERT INTO tickets (run_id, attempt, checkpoint_id, checkpoint_run, newest_checkpoint, selector,
                           outcome, explanation, world_size, opened_at, expires_at)
      SELECT r.id, ?2, ?3, (SELECT c.run_id FROM checkpoints AS c WHERE c.id = ?3),
             r.newest_checkpoint, ?4, ?5, ?6, ?7, ?8, ?9
      FROM runs AS r WHERE r.id = ?1)sql",
                         ticket.run_id, ticket.attempt, ticket.checkpoint_id, ticket.selector,
                         ticket.outcome, ticket.explanation, ticket.world_size, ticket.opened_at,
                         ticket.expires_at));
  if (db.changes() == 0) {
    return ckpt::MakeError(absl::StatusCode::kNotFound, ckpt::reason::kRunNotFound,
                           fmt::format("The catalog has no run with row {}.", ticket.run_id));
  }
  TicketRow inserted = ticket;
  inserted.id = db.last_insert_row();
  inserted.reports = 0;
  return inserted;
}

absl::Status ExtendTicket(WriteTxn& txn, int64_t id, absl::Time expires_at) {
  Connection& db = txn.connection();
  RETURN_IF_ERROR(db.Run("UPDATE tickets SET expires_at = ?2 WHERE id = ?1", id, expires_at));
  return db.changes() == 1 ? absl::OkStatus() : NoSuchTicket();
}

absl::Status DeleteTicket(WriteTxn& txn, int64_t id) {
  RETURN_IF_ERROR(txn.connection().Run("DELETE FROM reports WHERE ticket_id = ?1", id));
  return txn.connection().Run("DELETE FROM tickets WHERE id = ?1", id);
}

absl::StatusOr<bool> OtherRankLoaded(ReadTxn& txn, int64_t ticket_id, uint32_t rank) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> loaded, txn.connection().Integer(R"sql(
      SELECT EXISTS (SELECT 1 FROM reports WHERE ticket_id = ?1 AND rank <> ?2 AND ok = 1))sql",
                                                                                 ticket_id, rank));
  return loaded.value_or(0) != 0;
}

absl::StatusOr<bool> InsertReport(WriteTxn& txn, int64_t ticket_id, uint32_t rank, bool ok,
                                  const std::string& error, bool checkpoint_at_fault,
                                  absl::Time now) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(const std::optional<int64_t> found,
                   db.Integer("SELECT id FROM tickets WHERE id = ?1", ticket_id));
  if (!found) return NoSuchTicket();
  RETURN_IF_ERROR(db.Run(R"sql(
      INSERT INTO reports (ticket_id, rank, ok, error, at_fault, reported_at)
      VALUES (?1, ?2, ?3, ?4, ?5, ?6)
      ON CONFLICT DO UPDATE SET ok = excluded.ok, error = excluded.error,
                                at_fault = excluded.at_fault, reported_at = excluded.reported_at
      WHERE ok <> excluded.ok OR error <> excluded.error OR at_fault <> excluded.at_fault)sql",
                         ticket_id, rank, ok, error, checkpoint_at_fault, now));
  if (db.changes() == 0) return false;
  RETURN_IF_ERROR(db.Run(R"sql(
      UPDATE tickets SET complete = world_size <= (
        SELECT COUNT(*) FROM reports AS q WHERE q.ticket_id = tickets.id)
      WHERE id = ?1)sql",
                         ticket_id));
  return true;
}

absl::StatusOr<std::vector<uint64_t>> ListTicketed(ReadTxn& txn, int64_t run_id, absl::Time now) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT DISTINCT checkpoint_id FROM tickets
      WHERE checkpoint_run = ?1 AND expires_at > ?2 AND complete = 0)sql",
                                                          run_id, now));
  std::vector<uint64_t> ids;
  while (rows.Next()) ids.push_back(rows.Uint(0));
  RETURN_IF_ERROR(rows.status());
  return ids;
}

absl::StatusOr<std::optional<absl::Time>> NextTicketEnd(ReadTxn& txn, int64_t run_id,
                                                        absl::Time now) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> end, txn.connection().Integer(R"sql(
      SELECT MIN(expires_at) FROM tickets
      WHERE checkpoint_run = ?1 AND complete = 0 AND expires_at > ?2)sql",
                                                                              run_id, now));
  if (!end) return std::nullopt;
  return absl::FromUnixNanos(*end);
}

absl::StatusOr<uint32_t> CountFruitlessResumes(ReadTxn& txn, int64_t run_id,
                                               uint64_t checkpoint_id) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> count,
                   txn.connection().Integer(R"sql(
      SELECT COUNT(*) FROM tickets
      WHERE run_id = ?1 AND checkpoint_id = ?2
        AND newest_checkpoint = (SELECT r.newest_checkpoint FROM runs AS r WHERE r.id = ?1))sql",
                                            run_id, checkpoint_id));
  return static_cast<uint32_t>(count.value_or(0));
}

}  // namespace ckptd::catalog
