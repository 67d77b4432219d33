// A catalog that lives through anything: transactions of all kinds, by chance,
// and the whole of it as text, to compare.
#pragma once

#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "daemon/catalog/answers.h"
#include "daemon/catalog/encoding.h"
#include "daemon/catalog/projects.h"
#include "tests/unit/daemon/catalog/fixture.h"

namespace ckptd::catalog {

// All rows of every table, by the table's name.
using Dump = std::map<std::string, std::string>;

inline absl::StatusOr<std::vector<std::string>> TablesOf(Connection& db) {
  std::vector<std::string> tables;
  ASSIGN_OR_RETURN(Statement names, db.Query("SELECT name FROM sqlite_schema WHERE type = 'table' "
                                             "ORDER BY name"));
  while (names.Next()) tables.push_back(names.Text(0));
  RETURN_IF_ERROR(names.status());
  return tables;
}

// The names of every table's columns.
using Columns = std::map<std::string, std::vector<std::string>>;

inline absl::StatusOr<Columns> ColumnsOf(Connection& db) {
  Columns columns;
  ASSIGN_OR_RETURN(const std::vector<std::string> tables, TablesOf(db));
  for (const std::string& table : tables) {
    ASSIGN_OR_RETURN(Statement names,
                     db.Query("SELECT name FROM pragma_table_info(?1) ORDER BY cid", table));
    while (names.Next()) columns[table].push_back(names.Text(0));
    RETURN_IF_ERROR(names.status());
  }
  return columns;
}

inline absl::StatusOr<Dump> DumpOf(Connection& db, const Columns& columns) {
  Dump dump;
  for (const auto& [table, names] : columns) {
    std::string values;
    for (const std::string& name : names) {
      values += fmt::format("{}quote({})", values.empty() ? "" : " || ',' || ", name);
    }
    ASSIGN_OR_RETURN(Statement rows, db.Query(fmt::format("SELECT {} AS line FROM {} ORDER BY line",
                                                          values, table)));
    std::string& text = dump[table];
    while (rows.Next()) text += rows.Text(0) + "\n";
    RETURN_IF_ERROR(rows.status());
  }
  return dump;
}

inline absl::StatusOr<Dump> DumpOf(Connection& db) {
  ASSIGN_OR_RETURN(const Columns columns, ColumnsOf(db));
  return DumpOf(db, columns);
}

class HistoryTest : public CatalogTest {
 protected:
  Dump All() { return Get(DumpOf(Read()->connection())); }

  void RandomTransactions(int count) {
    for (int i = 0; i < count; ++i) RandomTransaction();
  }

  void RandomTransaction() {
    now_ += absl::Seconds(1);
    auto txn = Write();
    for (int i = Chance(3); i >= 0; --i) Act(*txn, Chance(20));
    if (Chance(12) == 0) return;  // rolled back
    Do(txn->Commit());
    ++committed_;
  }

  int Chance(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  template <typename T>
  std::optional<T> Any(const std::vector<T>& from) {
    if (from.empty()) return std::nullopt;
    return from[static_cast<size_t>(Chance(static_cast<int>(from.size())))];
  }

  RunRow AnyRun(WriteTxn& txn) {
    if (const auto id = Any(Get(ListRunIds(txn))); id && Chance(8) != 0) {
      return *Get(FindRunById(txn, *id));
    }
    const ckpt::RunName name{Chance(2) == 0 ? "default" : "other", fmt::format("r{}", Chance(4))};
    ckpt::Policy policy;
    policy.keep_last = 7;
    if (const auto run = Get(FindRun(txn, name)); run && !run->deleted) return *run;
    const RunRow run = Get(CreateRun(txn, name, policy, now_));
    Get(InsertAttempt(txn, run.id, fmt::format("launch {}", ++unique_), 1, now_));
    return *Get(FindRunById(txn, run.id));
  }
  std::optional<ckpt::Checkpoint> AnyCheckpoint(WriteTxn& txn, const RunRow& run, bool removed) {
    std::vector<ckpt::Checkpoint> found;
    for (auto& c : Get(ListCheckpoints(txn, run.id, {.include_removed = removed}))) {
      if (c.removed_at.has_value() == removed) found.push_back(std::move(c));
    }
    return Any(found);
  }
  // Some that others have, some new, and at times so many that their manifest
  // needs pages of its own.
  std::vector<int> Seeds() {
    std::set<int> seeds;
    for (int i = Chance(12) == 0 ? 300 : 1 + Chance(4); i > 0; --i) {
      seeds.insert(Chance(3) == 0 ? Chance(20) : 1000 + ++unique_);
    }
    return {seeds.begin(), seeds.end()};
  }

  void Act(WriteTxn& txn, int kind) {
    const RunRow run = AnyRun(txn);
    const auto kept = AnyCheckpoint(txn, run, false), gone = AnyCheckpoint(txn, run, true);
    const std::string name = fmt::format("n{}", Chance(3));
    const uint64_t step = static_cast<uint64_t>(++unique_);
    switch (kind) {
      case 0:
        Get(InsertAttempt(txn, run.id, fmt::format("launch {}", step), 1, now_));
        return;
      case 1:
        Open(txn, run, {.step = step, .seeds = Seeds(), .attempt = run.newest_attempt});
        return;
      case 2:
        if (const auto open = Any(Get(ListOpenUploads(txn)))) Do(DropUpload(txn, open->shard_row));
        return;
      case 3:
        if (!kept) return;
        for (const std::string& pin :
             std::vector<std::string>(kept->pins.begin(), kept->pins.end())) {
          Get(RemovePin(txn, kept->id, pin));
        }
        for (const std::string& alias :
             std::vector<std::string>(kept->aliases.begin(), kept->aliases.end())) {
          Get(RemoveAlias(txn, run.id, alias));
        }
        Do(MarkRemoved(txn, kept->id, {{ckpt::Reason::Rule::kSuperseded, "by chance"}}, now_,
                       now_ + absl::Seconds(Chance(9))));
        return;
      case 4:
        for (const uint64_t id : Get(ListReclaimable(txn, now_))) {
          Get(ReleaseCheckpoint(txn, id, 1 + static_cast<uint32_t>(Chance(3))));
        }
        return;
      case 5: {
        std::vector<int64_t> rows;
        for (const Reclaim& r : Get(ListReclaims(txn, 9))) rows.push_back(r.row);
        Do(DeleteReclaims(txn, rows));
        for (const PackId pack : Get(ListEmptyPacks(txn))) Do(DeletePack(txn, pack));
        return;
      }
      case 6:
        if (kept) Do(AddPin(txn, kept->id, name, now_));
        return;
      case 7:
        if (kept) Get(RemovePin(txn, kept->id, name));
        return;
      case 8:
        if (kept) Get(SetAlias(txn, run.id, name, kept->id, now_));
        return;
      case 9:
        Get(RemoveAlias(txn, run.id, name));
        return;
      case 10:
        if (kept) Do(SetMetrics(txn, kept->id, {{"loss", Chance(5) / 3.0}, {name, std::nan("")}}));
        return;
      case 11: {
        ckpt::Policy policy;
        policy.keep_last = 1 + static_cast<uint32_t>(Chance(9));
        Get(SetRunPolicy(txn, run.id, Chance(3) == 0 ? std::nullopt : std::optional(policy), now_));
        return;
      }
      case 12: {
        if (Get(FindTicketOfAttempt(txn, run.id, run.newest_attempt))) return;
        TicketRow ticket;
        ticket.run_id = run.id;
        ticket.attempt = run.newest_attempt;
        ticket.checkpoint_id = kept ? kept->id : 0;
        ticket.selector = "latest";
        ticket.opened_at = ticket.expires_at = now_;
        const int64_t id = Get(InsertTicket(txn, ticket)).id;
        if (Chance(2) == 0) Get(InsertReport(txn, id, 0, Chance(2) == 0, "why", false, now_));
        if (Chance(4) == 0) Do(DeleteTicket(txn, id));
        return;
      }
      case 13:
        Do(InsertAnswer(txn, {fmt::format("id {}", step), "Pin", DigestOf(1)}, "answer", now_));
        if (Chance(3) == 0) Get(DeleteAnswers(txn, now_ - absl::Seconds(20), 5));
        return;
      case 14:
        if (kept) Do(MarkChunkDamaged(txn, run.project_id, DigestOf(Chance(20))));
        if (kept) Do(SetDamage(txn, kept->id, Chance(2) == 0 ? "" : "chunk 3 is damaged"));
        return;
      case 15:
        Do(SetProjectBudget(txn, run.project_id, step));
        Get(InsertTimeline(txn, run.id, kept ? kept->id : 0, "by chance", now_));
        return;
      case 16:
        Encode(txn, run, kept);
        return;
      case 17:
        if (gone && gone->restorable_until && *gone->restorable_until > now_) {
          Do(MarkRestored(txn, gone->id));
        } else if (Chance(20) == 0) {
          Do(MarkRunDeleted(txn, run.id));
        }
        return;
      default:
        Push(txn, run,
             {.step = step,
              .seeds = Seeds(),
              .attempt = run.newest_attempt,
              .metrics = {{"loss", 1.0 / static_cast<double>(step)}}});
        Do(InsertEvent(txn, run.id,
                       {0, now_, ckpt::Event::Kind::kCommitted, 0, step,
                        std::string(static_cast<size_t>(Chance(200)), 'e')}));
        return;
    }
  }

  void Encode(WriteTxn& txn, const RunRow& run, const std::optional<ckpt::Checkpoint>& kept) {
    if (!kept) return;
    const auto chunks = Get(ListToEncode(txn, kept->id, 0));
    const auto chunk = Any(chunks), base = Any(chunks);
    if (!chunk) return;
    if (Chance(4) == 0) return Do(MarkTried(txn, *chunk));
    const PackId own = Get(StartOwnPack(txn, now_));
    const bool with_base = chunk->row != base->row && Get(MayBeBase(txn, chunk->row, base->row));
    Get(MoveChunk(txn, run.project_id, *chunk, {own, 4096, kExtent, kLength, 50},
                  with_base ? base : std::nullopt, {kept->id}));
    Do(SealPack(txn, own));
    if (Chance(3) == 0) Do(MarkPacked(txn, kept->id));
  }

  std::mt19937 random_{20251125};
  int unique_ = 0, committed_ = 0;
};

}  // namespace ckptd::catalog
