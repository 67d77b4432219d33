#include "daemon/store/judgement.h"

#include <set>
#include <utility>

#include <fmt/format.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/events.h"
#include "daemon/catalog/resumes.h"
#include "daemon/retention/policy.h"
#include "daemon/store/selection.h"

namespace ckptd {

namespace {

// `checkpoints`: all that the policy ranks, and the newest whole one.
absl::StatusOr<Judgement> Judge(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                const ckpt::Policy& policy, const Leases& leases, absl::Time now,
                                const Line& line, std::vector<ckpt::Checkpoint> checkpoints) {
  ASSIGN_OR_RETURN(std::vector<uint64_t> referenced, catalog::ListReferenced(txn, run.id));
  ASSIGN_OR_RETURN(std::vector<uint64_t> ticketed, catalog::ListTicketed(txn, run.id, now));
  std::set<uint64_t> references(referenced.begin(), referenced.end());
  std::set<uint64_t> tickets(ticketed.begin(), ticketed.end());

  Judgement judgement;
  judgement.checkpoints = std::move(checkpoints);
  std::vector<retention::Candidate> candidates;
  candidates.reserve(judgement.checkpoints.size());
  for (const ckpt::Checkpoint& c : judgement.checkpoints) {
    retention::Candidate candidate;
    candidate.id = c.id;
    candidate.timeline = c.timeline;
    candidate.step = c.step;
    candidate.committed_at = c.committed_at;
    candidate.bytes = c.bytes;
    candidate.metrics = c.metrics;
    candidate.pending_metrics = c.pending_metrics;
    candidate.damaged = !c.damage.empty();
    candidate.on_current_line = line.Contains(c.timeline, c.id);
    candidate.pins = c.pins;
    candidate.aliases = c.aliases;
    candidate.referenced = references.contains(c.id);
    candidate.leased = tickets.contains(c.id) || leases.IsLeased(c.id);
    candidates.push_back(std::move(candidate));
  }
  std::vector<ckpt::Verdict> verdicts = retention::Judge(policy, candidates, now);
  for (size_t i = 0; i < verdicts.size(); ++i) {
    judgement.checkpoints[i].verdict = std::move(verdicts[i]);
  }
  judgement.best_ranks = retention::BestRanks(policy, candidates);
  judgement.next_change = retention::NextChange(policy, candidates, now);
  ASSIGN_OR_RETURN(auto ticket_end, catalog::NextTicketEnd(txn, run.id, now));
  if (ticket_end && *ticket_end < judgement.next_change.value_or(absl::InfiniteFuture())) {
    judgement.next_change = ticket_end;
  }
  return judgement;
}

}  // namespace

absl::StatusOr<Judgement> JudgeRun(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                   const ckpt::Policy& policy, const Leases& leases,
                                   absl::Time now) {
  ASSIGN_OR_RETURN(auto checkpoints, catalog::ListCheckpoints(txn, run.id, {}));
  ASSIGN_OR_RETURN(Line line, LoadLine(txn, run));
  return Judge(txn, run, policy, leases, now, line, std::move(checkpoints));
}

absl::StatusOr<Judgement> JudgeSome(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                    const ckpt::Policy& policy, const Leases& leases,
                                    absl::Time now, std::vector<ckpt::Checkpoint> some) {
  if (policy.has_rules()) return JudgeRun(txn, run, policy, leases, now);
  ASSIGN_OR_RETURN(Line line, LoadLine(txn, run));
  // Of those that are not asked for only the newest whole one matters.
  ASSIGN_OR_RETURN(auto newest, ListDownToWhole(txn, run.id, line, 0));
  std::set<uint64_t> asked;
  for (const ckpt::Checkpoint& c : some) asked.insert(c.id);
  for (ckpt::Checkpoint& c : newest) {
    if (!asked.contains(c.id)) some.push_back(std::move(c));
  }
  return Judge(txn, run, policy, leases, now, line, std::move(some));
}

absl::StatusOr<int> RemoveJudged(catalog::WriteTxn& txn, const catalog::RunRow& run,
                                 const ckpt::Policy& policy, const Judgement& judgement,
                                 absl::Time now) {
  int removed = 0;
  for (const ckpt::Checkpoint& c : judgement.checkpoints) {
    if (c.verdict.keep) continue;
    RETURN_IF_ERROR(RemoveCheckpoint(txn, run, policy, c, c.verdict.reasons, now));
    ++removed;
  }
  return removed;
}

absl::Status RemoveCheckpoint(catalog::WriteTxn& txn, const catalog::RunRow& run,
                              const ckpt::Policy& policy, const ckpt::Checkpoint& checkpoint,
                              const std::vector<ckpt::Reason>& reasons, absl::Time now) {
  for (const std::string& pin : checkpoint.pins) {
    RETURN_IF_ERROR(catalog::RemovePin(txn, checkpoint.id, pin).status());
  }
  for (const std::string& alias : checkpoint.aliases) {
    RETURN_IF_ERROR(catalog::RemoveAlias(txn, run.id, alias).status());
  }
  std::optional<absl::Time> restorable_until;
  if (policy.restore_grace > absl::ZeroDuration()) restorable_until = now + policy.restore_grace;
  RETURN_IF_ERROR(catalog::MarkRemoved(txn, checkpoint.id, reasons, now, restorable_until));
  ckpt::Event event;
  event.at = now;
  event.kind = ckpt::Event::Kind::kRemoved;
  event.checkpoint_id = checkpoint.id;
  event.step = checkpoint.step;
  event.text = ckpt::ReasonsText({false, reasons});
  return catalog::InsertEvent(txn, run.id, event);
}

}  // namespace ckptd
