#include "daemon/catalog/events.h"

#include <limits>

#include "daemon/catalog/sqlite.h"

namespace ckptd::catalog {

absl::Status InsertEvent(WriteTxn& txn, int64_t run_id, const ckpt::Event& event) {
  return txn.connection().Run(R"sql(
      INSERT INTO events (run_id, at, kind, checkpoint_id, step, text)
      VALUES (?1, ?2, ?3, ?4, ?5, ?6))sql",
                              run_id, event.at, static_cast<int>(event.kind), event.checkpoint_id,
                              event.step, event.text);
}

absl::StatusOr<std::vector<ckpt::Event>> ListEvents(ReadTxn& txn, int64_t run_id,
                                                    uint64_t checkpoint_id, uint64_t before_id,
                                                    uint32_t limit) {
  constexpr char kOfRun[] = R"sql(
      SELECT id, at, kind, checkpoint_id, step, text FROM events
      WHERE run_id = ?1 AND ?2 = 0 AND id < ?3 ORDER BY id DESC LIMIT ?4)sql";
  constexpr char kOfCheckpoint[] = R"sql(
      SELECT id, at, kind, checkpoint_id, step, text FROM events
      WHERE run_id = ?1 AND checkpoint_id = ?2 AND checkpoint_id <> 0 AND id < ?3
      ORDER BY id DESC LIMIT ?4)sql";
  const uint64_t end = before_id == 0 ? std::numeric_limits<int64_t>::max() : before_id;
  ASSIGN_OR_RETURN(
      Statement rows,
      txn.connection().Query(checkpoint_id == 0 ? kOfRun : kOfCheckpoint, run_id, checkpoint_id,
                             end, limit == 0 ? int64_t{-1} : int64_t{limit}));
  std::vector<ckpt::Event> events;
  while (rows.Next()) {
    ckpt::Event event;
    event.id = rows.Uint(0);
    event.at = rows.Time(1);
    event.kind = static_cast<ckpt::Event::Kind>(rows.Int(2));
    event.checkpoint_id = rows.Uint(3);
    event.step = rows.Uint(4);
    event.text = rows.Text(5);
    events.push_back(std::move(event));
  }
  RETURN_IF_ERROR(rows.status());
  return events;
}

}  // namespace ckptd::catalog
