// Policies, pruning, deleting, pins, aliases, late metrics. What destroys is
// planned, shown and executed by one and the same code.
#include <algorithm>
#include <set>

#include <absl/strings/str_join.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/catalog/uploads.h"
#include "daemon/store/errors.h"
#include "daemon/store/store.h"

namespace ckptd {
namespace {

std::vector<uint64_t> RemovedIds(const std::vector<ckpt::Checkpoint>& checkpoints) {
  std::vector<uint64_t> ids;
  for (const ckpt::Checkpoint& c : checkpoints) {
    if (!c.verdict.keep) ids.push_back(c.id);
  }
  return ids;
}

bool WasDeleted(const ckpt::Verdict& verdict) {
  return std::any_of(verdict.reasons.begin(), verdict.reasons.end(), [](const auto& reason) {
    return reason.rule == ckpt::Reason::Rule::kDeleted;
  });
}

absl::Status Held(const ckpt::Checkpoint& checkpoint, const std::string& by) {
  return ckpt::MakeError(
      absl::StatusCode::kFailedPrecondition, ckpt::reason::kCheckpointHeld,
      fmt::format("checkpoint {}@{} (id {}) is {}; it is not deleted while "
                  "that is so",
                  checkpoint.run.ToString(), checkpoint.step, checkpoint.id, by));
}

}  // namespace

absl::StatusOr<Store::PolicyInForce> Store::GetPolicy(const std::optional<ckpt::RunName>& name) {
  if (!name) return PolicyInForce{DefaultPolicy(), true};
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, *name));
  return PolicyInForce{PolicyOf(run), !run.policy.has_value()};
}

absl::StatusOr<Store::PruneResult> Store::SetPolicy(const ckpt::RunName& name,
                                                    const std::optional<ckpt::Policy>& policy,
                                                    bool dry_run, uint64_t if_version,
                                                    const Once<PruneResult>& once) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
  uint64_t version = PolicyOf(run).version;
  if (if_version != 0 && if_version != version) {
    return ckpt::MakeError(absl::StatusCode::kAborted, ckpt::reason::kPolicyChanged,
                           fmt::format("the policy of {} is at version {}, not {}: somebody "
                                       "changed it; look at it again",
                                       name.ToString(), version, if_version));
  }
  RETURN_IF_ERROR(catalog::SetRunPolicy(*txn, run.id, policy, clock_->Now()).status());
  ASSIGN_OR_RETURN(run, RequireRun(*txn, name));
  RETURN_IF_ERROR(AddEvent(*txn, run.id, ckpt::Event::Kind::kPolicy, 0, 0,
                           policy ? "policy set: " + ckpt::ToString(*policy)
                                  : "policy unset: the daemon's default is in force"));
  ASSIGN_OR_RETURN(PruneResult result, PruneIn(*txn, run));
  if (dry_run) return result;  // rolled back
  RETURN_IF_ERROR(Remember(*txn, once, result));
  RETURN_IF_ERROR(txn->Commit());
  metrics_->CountVerdicts(result.checkpoints);
  janitor_->Wake();
  return result;
}

absl::StatusOr<Store::PruneResult> Store::PruneIn(catalog::WriteTxn& txn,
                                                  const catalog::RunRow& run) {
  absl::Time now = clock_->Now();
  PruneResult result;
  result.run = run.name;
  result.policy = PolicyOf(run);
  ASSIGN_OR_RETURN(Judgement judgement, JudgeRun(txn, run, result.policy, leases_, now));
  ASSIGN_OR_RETURN(result.freed_bytes, catalog::FreedBy(txn, RemovedIds(judgement.checkpoints)));
  RETURN_IF_ERROR(RemoveJudged(txn, run, result.policy, judgement, now).status());
  if (judgement.next_change) janitor_->JudgeAt(run.id, *judgement.next_change);
  result.checkpoints = std::move(judgement.checkpoints);
  return result;
}

absl::StatusOr<Store::PruneResult> Store::Prune(const ckpt::RunName& name, bool dry_run,
                                                const Once<PruneResult>& once) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
  ASSIGN_OR_RETURN(PruneResult result, PruneIn(*txn, run));
  if (dry_run) return result;  // rolled back
  RETURN_IF_ERROR(Remember(*txn, once, result));
  RETURN_IF_ERROR(txn->Commit());
  metrics_->CountVerdicts(result.checkpoints);
  janitor_->Wake();
  return result;
}

absl::StatusOr<std::vector<Store::PruneResult>> Store::PruneProject(
    const std::string& project, bool dry_run, const Once<std::vector<PruneResult>>& once) {
  std::vector<catalog::RunRow> runs;
  {
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
    ASSIGN_OR_RETURN(runs, catalog::ListRuns(*txn, project, "", std::nullopt, 0));
  }
  if (runs.empty()) return ProjectHasNoRuns(project);
  std::vector<PruneResult> results;
  if (dry_run) {
    // In one transaction, so that the budget finds what the rules leave.
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
    for (const catalog::RunRow& row : runs) {
      ASSIGN_OR_RETURN(auto run, catalog::FindRunById(*txn, row.id));
      if (!run || run->deleted) continue;
      ASSIGN_OR_RETURN(PruneResult result, PruneIn(*txn, *run));
      results.push_back(std::move(result));
    }
    RETURN_IF_ERROR(PruneToBudget(*txn, runs[0].project_id, results).status());
    return results;  // rolled back
  }
  for (const catalog::RunRow& run : runs) {
    absl::StatusOr<PruneResult> result = Prune(run.name, false);
    if (ckpt::HasReason(result.status(), ckpt::reason::kRunNotFound)) continue;  // deleted since
    RETURN_IF_ERROR(result.status());
    results.push_back(*std::move(result));
  }
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(auto given, PruneToBudget(*txn, runs[0].project_id, results));
  RETURN_IF_ERROR(Remember(*txn, once, results));
  RETURN_IF_ERROR(txn->Commit());
  metrics_->CountVerdicts(given);
  LogGiven(given);
  janitor_->Wake();
  return results;
}

absl::StatusOr<Store::PruneResult> Store::DeleteCheckpoints(const ckpt::RunName& name,
                                                            const std::vector<uint64_t>& ids,
                                                            bool dry_run,
                                                            const Once<PruneResult>& once) {
  absl::Time now = clock_->Now();
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
  PruneResult result;
  result.run = name;
  result.policy = PolicyOf(run);
  std::set<uint64_t> wanted(ids.begin(), ids.end());
  ASSIGN_OR_RETURN(Judgement judgement, JudgeRun(*txn, run, result.policy, leases_, now));
  int whole_left = 0;
  std::map<uint64_t, const ckpt::Verdict*> verdicts;
  for (const ckpt::Checkpoint& c : judgement.checkpoints) {
    whole_left += !wanted.contains(c.id) && c.damage.empty();
    verdicts[c.id] = &c.verdict;
  }
  ASSIGN_OR_RETURN(result.freed_bytes, catalog::FreedBy(*txn, ids));
  bool whole_goes = false;
  for (uint64_t id : wanted) {
    ASSIGN_OR_RETURN(auto gone, catalog::FindCheckpoint(*txn, id));
    if (gone && gone->run == name && gone->removed_at && WasDeleted(gone->verdict)) {
      result.checkpoints.push_back(*std::move(gone));  // by this very call, sent again
      continue;
    }
    ASSIGN_OR_RETURN(ckpt::Checkpoint c, RequireCheckpoint(*txn, name, id));
    whole_goes |= c.damage.empty();
    if (!c.pins.empty()) return Held(c, "pinned: " + absl::StrJoin(c.pins, ", "));
    if (!c.aliases.empty()) return Held(c, "aliased: " + absl::StrJoin(c.aliases, ", "));
    for (const ckpt::Reason& reason : verdicts.at(id)->reasons) {
      bool holds = reason.rule == ckpt::Reason::Rule::kLeased ||
                   reason.rule == ckpt::Reason::Rule::kReferenced;
      if (holds) return Held(c, reason.text);
    }
    c.verdict = {false, {{ckpt::Reason::Rule::kDeleted, "deleted by a user"}}};
    RETURN_IF_ERROR(RemoveCheckpoint(*txn, run, result.policy, c, c.verdict.reasons, now));
    result.checkpoints.push_back(std::move(c));
  }
  if (whole_goes && whole_left == 0) {
    return ckpt::MakeError(absl::StatusCode::kFailedPrecondition, ckpt::reason::kLastCheckpoint,
                           fmt::format("that would leave run {} without a whole checkpoint to "
                                       "resume from; to be rid of it all, delete the run",
                                       name.ToString()));
  }
  if (dry_run) return result;  // rolled back
  RETURN_IF_ERROR(Remember(*txn, once, result));
  RETURN_IF_ERROR(txn->Commit());
  metrics_->CountVerdicts(result.checkpoints);
  janitor_->Wake();
  return result;
}

absl::StatusOr<Store::PruneResult> Store::DeleteRun(const ckpt::RunName& name, bool dry_run,
                                                    const Once<PruneResult>& once) {
  absl::Time now = clock_->Now();
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
  PruneResult result;
  result.run = name;
  result.policy = PolicyOf(run);
  ASSIGN_OR_RETURN(result.checkpoints, catalog::ListCheckpoints(*txn, run.id, {}));
  for (ckpt::Checkpoint& c : result.checkpoints) {
    if (leases_.IsLeased(c.id)) return Held(c, "being read");
    c.verdict = {false, {{ckpt::Reason::Rule::kDeleted, "the run was deleted by a user"}}};
  }
  ASSIGN_OR_RETURN(result.freed_bytes, catalog::FreedBy(*txn, RemovedIds(result.checkpoints)));
  for (const ckpt::Checkpoint& c : result.checkpoints) {
    RETURN_IF_ERROR(RemoveCheckpoint(*txn, run, result.policy, c, c.verdict.reasons, now));
  }
  // At once: the run may be opened again before the janitor comes by.
  std::vector<int64_t> dropped;
  ASSIGN_OR_RETURN(auto uploads, catalog::ListOpenUploads(*txn));
  for (const catalog::UploadRow& upload : uploads) {
    if (upload.run_id != run.id) continue;
    RETURN_IF_ERROR(DropUploadIn(*txn, upload, "its run was deleted"));
    dropped.push_back(upload.shard_row);
  }
  RETURN_IF_ERROR(catalog::MarkRunDeleted(*txn, run.id));
  RETURN_IF_ERROR(
      AddEvent(*txn, run.id, ckpt::Event::Kind::kRunDeleted, 0, 0,
               fmt::format("deleted by a user, with {} checkpoints", result.checkpoints.size())));
  if (dry_run) return result;  // rolled back
  RETURN_IF_ERROR(Remember(*txn, once, result));
  RETURN_IF_ERROR(txn->Commit());
  metrics_->CountVerdicts(result.checkpoints);
  for (int64_t shard_row : dropped) ForgetUpload(shard_row);
  spdlog::info("run {} deleted with {} checkpoints", name.ToString(), result.checkpoints.size());
  janitor_->Wake();
  return result;
}

absl::StatusOr<ckpt::Checkpoint> Store::RestoreCheckpoint(const ckpt::RunName& name, uint64_t id,
                                                          const Once<ckpt::Checkpoint>& once) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
  ASSIGN_OR_RETURN(auto checkpoint, catalog::FindCheckpoint(*txn, id));
  if (!checkpoint || checkpoint->run != name) return CheckpointNotFound(id);
  absl::Time now = clock_->Now();
  if (checkpoint->removed_at) {
    if (!checkpoint->restorable_until || *checkpoint->restorable_until <= now) {
      return ckpt::MakeError(absl::StatusCode::kFailedPrecondition, ckpt::reason::kNotRestorable,
                             fmt::format("checkpoint {}@{} (id {}) cannot be brought back: {}",
                                         name.ToString(), checkpoint->step, id,
                                         checkpoint->restorable_until
                                             ? "its grace time is over"
                                             : "the policy had no restore_grace when it went"));
    }
    RETURN_IF_ERROR(catalog::MarkRestored(*txn, id));
    RETURN_IF_ERROR(catalog::AddPin(*txn, id, "restored", now));
    RETURN_IF_ERROR(AddEvent(*txn, run.id, ckpt::Event::Kind::kRestored, id, checkpoint->step,
                             "brought back, and pinned: restored"));
  }
  ASSIGN_OR_RETURN(ckpt::Checkpoint described, DescribeCheckpoint(*txn, id));
  RETURN_IF_ERROR(Remember(*txn, once, described));
  RETURN_IF_ERROR(txn->Commit());
  return described;
}

absl::StatusOr<ckpt::Checkpoint> Store::Change(
    const ckpt::RunName& name, uint64_t id, const Once<ckpt::Checkpoint>& once,
    const std::function<absl::Status(catalog::WriteTxn&, const catalog::RunRow&,
                                     const ckpt::Checkpoint&)>& change) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(ckpt::Checkpoint checkpoint, RequireCheckpoint(*txn, name, id));
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, checkpoint.run));
  RETURN_IF_ERROR(change(*txn, run, checkpoint));
  ASSIGN_OR_RETURN(ckpt::Checkpoint described, DescribeCheckpoint(*txn, id));
  RETURN_IF_ERROR(Remember(*txn, once, described));
  RETURN_IF_ERROR(txn->Commit());
  // What it no longer holds may go.
  janitor_->JudgeAt(run.id, clock_->Now());
  janitor_->Wake();
  return described;
}

absl::StatusOr<ckpt::Checkpoint> Store::Pin(const ckpt::RunName& name, uint64_t id,
                                            const std::string& pin,
                                            const Once<ckpt::Checkpoint>& once) {
  return Change(name, id, once, [&](auto& txn, const auto& run, const ckpt::Checkpoint& c) {
    if (c.pins.contains(pin)) return absl::OkStatus();
    RETURN_IF_ERROR(catalog::AddPin(txn, id, pin, clock_->Now()));
    return AddEvent(txn, run.id, ckpt::Event::Kind::kPinned, id, c.step, "pinned: " + pin);
  });
}

absl::StatusOr<ckpt::Checkpoint> Store::Unpin(const ckpt::RunName& name, uint64_t id,
                                              const std::string& pin,
                                              const Once<ckpt::Checkpoint>& once) {
  return Change(name, id, once, [&](auto& txn, const auto& run, const ckpt::Checkpoint& c) {
    if (!c.pins.contains(pin)) {
      return ckpt::MakeError(
          absl::StatusCode::kNotFound, ckpt::reason::kPinNotFound,
          fmt::format("checkpoint {}@{} has no pin {}", c.run.ToString(), c.step, pin));
    }
    RETURN_IF_ERROR(catalog::RemovePin(txn, id, pin).status());
    return AddEvent(txn, run.id, ckpt::Event::Kind::kUnpinned, id, c.step, "unpinned: " + pin);
  });
}

absl::StatusOr<ckpt::Checkpoint> Store::SetAlias(const ckpt::RunName& name, uint64_t id,
                                                 const std::string& alias,
                                                 const Once<ckpt::Checkpoint>& once) {
  return Change(name, id, once, [&](auto& txn, const auto& run, const ckpt::Checkpoint& c) {
    ASSIGN_OR_RETURN(uint64_t before, catalog::SetAlias(txn, run.id, alias, id, clock_->Now()));
    if (before == id) return absl::OkStatus();
    return AddEvent(txn, run.id, ckpt::Event::Kind::kAliased, id, c.step, "aliased: " + alias);
  });
}

absl::Status Store::DeleteAlias(const ckpt::RunName& name, const std::string& alias,
                                const Once<Done>& once) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
  ASSIGN_OR_RETURN(bool removed, catalog::RemoveAlias(*txn, run.id, alias));
  if (!removed) {
    return ckpt::MakeError(absl::StatusCode::kNotFound, ckpt::reason::kAliasNotFound,
                           fmt::format("run {} has no alias {}", name.ToString(), alias));
  }
  RETURN_IF_ERROR(AddEvent(*txn, run.id, ckpt::Event::Kind::kUnaliased, 0, 0,
                           fmt::format("alias {} deleted", alias)));
  RETURN_IF_ERROR(Remember(*txn, once, {}));
  RETURN_IF_ERROR(txn->Commit());
  janitor_->JudgeAt(run.id, clock_->Now());
  janitor_->Wake();
  return absl::OkStatus();
}

absl::StatusOr<ckpt::Checkpoint> Store::AttachMetrics(const ckpt::RunName& name, uint64_t id,
                                                      const ckpt::Metrics& metrics,
                                                      const Once<ckpt::Checkpoint>& once) {
  return Change(name, id, once, [&](auto& txn, const auto& run, const ckpt::Checkpoint& c) {
    RETURN_IF_ERROR(catalog::SetMetrics(txn, id, metrics));
    std::string text = absl::StrJoin(metrics, ", ", [](std::string* out, const auto& metric) {
      out->append(fmt::format("{}={}", metric.first, metric.second));
    });
    return AddEvent(txn, run.id, ckpt::Event::Kind::kMetric, id, c.step, "metrics: " + text);
  });
}

}  // namespace ckptd
