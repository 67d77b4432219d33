// Lists, descriptions and figures.
#include <fmt/format.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/catalog/damage.h"
#include "daemon/catalog/events.h"
#include "daemon/store/errors.h"
#include "daemon/store/selection.h"
#include "daemon/store/store.h"

namespace ckptd {

absl::StatusOr<ckpt::Run> Store::DescribeRun(catalog::ReadTxn& txn, const catalog::RunRow& row) {
  ckpt::Run run;
  run.name = row.name;
  run.created_at = row.created_at;
  run.newest_attempt = row.newest_attempt;
  run.current_timeline = row.current_timeline;
  run.policy = PolicyOf(row);
  run.policy_is_default = !row.policy.has_value();
  ASSIGN_OR_RETURN(catalog::RunFigures figures, catalog::GetRunFigures(txn, row.id));
  run.checkpoints = figures.checkpoints;
  run.removed = figures.removed;
  run.bytes = figures.bytes;
  if (figures.checkpoints > 0) {
    ASSIGN_OR_RETURN(Selection latest, SelectIn(txn, row, ckpt::SelectLatest{}, run.policy));
    run.latest = std::move(latest.checkpoint);
  }
  return run;
}

absl::StatusOr<ckpt::Checkpoint> Store::DescribeCheckpoint(catalog::ReadTxn& txn, uint64_t id) {
  ASSIGN_OR_RETURN(auto checkpoint, catalog::FindCheckpoint(txn, id));
  if (!checkpoint) return CheckpointNotFound(id);
  if (checkpoint->removed_at) return *checkpoint;  // with its tombstone's verdict
  ASSIGN_OR_RETURN(auto run, catalog::FindRun(txn, checkpoint->run));
  ASSIGN_OR_RETURN(checkpoint->verdict, VerdictOn(txn, *run, *checkpoint));
  return *checkpoint;
}

absl::StatusOr<ckpt::Verdict> Store::VerdictOn(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                               const ckpt::Checkpoint& checkpoint) {
  ASSIGN_OR_RETURN(Judgement judgement, JudgeSome(txn, run, PolicyOf(run), leases_, clock_->Now(),
                                                  {checkpoint}));
  for (ckpt::Checkpoint& c : judgement.checkpoints) {
    if (c.id == checkpoint.id) return std::move(c.verdict);
  }
  return checkpoint.verdict;
}

absl::StatusOr<std::vector<ckpt::Run>> Store::ListRuns(const std::string& project,
                                                       const std::string& prefix,
                                                       const std::optional<ckpt::RunName>& after,
                                                       uint32_t limit) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(auto rows, catalog::ListRuns(*txn, project, prefix, after, limit));
  std::vector<ckpt::Run> runs;
  for (const catalog::RunRow& row : rows) {
    ASSIGN_OR_RETURN(ckpt::Run run, DescribeRun(*txn, row));
    runs.push_back(std::move(run));
  }
  return runs;
}

absl::StatusOr<Store::RunDetails> Store::GetRun(const ckpt::RunName& name) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(catalog::RunRow row, RequireRun(*txn, name));
  RunDetails details;
  ASSIGN_OR_RETURN(details.run, DescribeRun(*txn, row));
  ASSIGN_OR_RETURN(details.timelines, catalog::ListTimelines(*txn, row.id));
  return details;
}

absl::StatusOr<std::vector<ckpt::Checkpoint>> Store::ListCheckpoints(const ckpt::RunName& name,
                                                                     const ListRequest& request) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
  catalog::ListFilter filter;
  filter.include_removed = request.include_removed;
  filter.min_step = request.min_step;
  filter.max_step = request.max_step;
  filter.timeline = request.timeline;
  filter.pinned_only = request.pinned_only;
  filter.before_id = request.before_id;
  filter.limit = request.limit;
  ASSIGN_OR_RETURN(auto listed, catalog::ListCheckpoints(*txn, run.id, filter));
  std::vector<ckpt::Checkpoint> live;
  for (const ckpt::Checkpoint& c : listed) {
    if (!c.removed_at) live.push_back(c);
  }
  if (live.empty()) return listed;
  ASSIGN_OR_RETURN(Judgement judgement, JudgeSome(*txn, run, PolicyOf(run), leases_, clock_->Now(),
                                                  std::move(live)));
  std::map<uint64_t, ckpt::Verdict*> verdicts;
  for (ckpt::Checkpoint& c : judgement.checkpoints) verdicts[c.id] = &c.verdict;
  for (ckpt::Checkpoint& c : listed) {
    auto it = verdicts.find(c.id);
    if (it != verdicts.end()) c.verdict = *it->second;
  }
  return listed;
}

absl::StatusOr<ckpt::Checkpoint> Store::GetCheckpoint(uint64_t id) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  return DescribeCheckpoint(*txn, id);
}

absl::StatusOr<std::vector<ckpt::Event>> Store::ListEvents(const std::optional<ckpt::RunName>& run,
                                                           uint64_t checkpoint_id,
                                                           uint64_t before_id, uint32_t limit) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  int64_t run_id = 0;
  if (checkpoint_id != 0) {
    ASSIGN_OR_RETURN(auto checkpoint, catalog::FindCheckpoint(*txn, checkpoint_id));
    if (!checkpoint) return CheckpointNotFound(checkpoint_id);
    ASSIGN_OR_RETURN(run_id, catalog::RunIdOf(*txn, checkpoint_id));
  } else {
    // A deleted run's history is still there to be asked.
    ASSIGN_OR_RETURN(auto row, catalog::FindRun(*txn, *run));
    if (!row) return RunNotFound(*run);
    run_id = row->id;
  }
  return catalog::ListEvents(*txn, run_id, checkpoint_id, before_id, limit);
}

absl::StatusOr<ckpt::Stats> Store::GetStats(const std::optional<ckpt::RunName>& name) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  std::optional<int64_t> project_id, run_id;
  if (name && !name->run.empty()) {
    ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, *name));
    project_id = run.project_id;
    run_id = run.id;
  } else if (name) {
    ASSIGN_OR_RETURN(auto runs, catalog::ListRuns(*txn, name->project, "", std::nullopt, 1));
    if (runs.empty()) return ProjectHasNoRuns(name->project);
    project_id = runs[0].project_id;
  }
  ASSIGN_OR_RETURN(catalog::Figures figures, catalog::GetFigures(*txn, project_id, run_id));
  ASSIGN_OR_RETURN(Usage usage, chunks_->GetUsage());
  ckpt::Stats stats;
  stats.runs = figures.runs;
  stats.checkpoints = figures.checkpoints;
  stats.logical_bytes = figures.logical_bytes;
  stats.stored_bytes = figures.stored_bytes;
  stats.chunks = figures.chunks;
  stats.reclaimable_bytes = figures.reclaimable_bytes;
  stats.open_uploads = figures.open_uploads;
  if (!name) stats.disk_bytes = usage.disk_bytes;
  stats.disk_free_bytes = usage.free_bytes;
  stats.version = options_.version;
  stats.uptime = clock_->Now() - opened_at_;
  ASSIGN_OR_RETURN(stats.damaged_checkpoints, catalog::CountDamaged(*txn, project_id, run_id));
  if (!name) {
    ASSIGN_OR_RETURN(stats.scrub, scrubbing_->Describe());
  }
  return stats;
}

}  // namespace ckptd
