#include "daemon/store/judgement.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/events.h"
#include "daemon/catalog/resumes.h"
#include "daemon/retention/policy.h"

namespace ckptd {

absl::StatusOr<Line> LoadLine(catalog::ReadTxn& txn, const catalog::RunRow& run) {
  ASSIGN_OR_RETURN(std::vector<ckpt::Timeline> timelines, catalog::ListTimelines(txn, run.id));
  std::map<uint64_t, uint32_t> forks;
  for (const ckpt::Timeline& timeline : timelines) {
    if (timeline.forked_from == 0) continue;
    ASSIGN_OR_RETURN(auto parent, catalog::FindCheckpoint(txn, timeline.forked_from));
    if (parent && parent->run == run.name) forks[parent->id] = parent->timeline;
  }
  return Line(timelines, forks, run.current_timeline);
}

absl::StatusOr<Judgement> JudgeRun(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                   const ckpt::Policy& policy, const Leases& leases,
                                   absl::Time now) {
  Judgement judgement;
  ASSIGN_OR_RETURN(judgement.checkpoints, catalog::ListCheckpoints(txn, run.id, {}));
  ASSIGN_OR_RETURN(Line line, LoadLine(txn, run));
  ASSIGN_OR_RETURN(std::vector<uint64_t> referenced, catalog::ListReferenced(txn, run.id));
  ASSIGN_OR_RETURN(std::vector<uint64_t> ticketed, catalog::ListTicketed(txn, run.id, now));
  std::set<uint64_t> references(referenced.begin(), referenced.end());
  std::set<uint64_t> tickets(ticketed.begin(), ticketed.end());

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
  ASSIGN_OR_RETURN(auto ticket_end, catalog::NextTicketEnd(txn, now));
  if (ticket_end && *ticket_end < judgement.next_change.value_or(absl::InfiniteFuture())) {
    judgement.next_change = ticket_end;
  }
  return judgement;
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
