// The commit: bytes first, then one transaction, retention with it.
#include <algorithm>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/catalog/damage.h"
#include "daemon/catalog/uploads.h"
#include "daemon/store/damage.h"
#include "daemon/store/errors.h"
#include "daemon/store/selection.h"
#include "daemon/store/store.h"

namespace ckptd {

absl::StatusOr<Store::ShardResult> Store::ResultOf(catalog::ReadTxn& txn, int64_t shard_row) {
  ASSIGN_OR_RETURN(auto row, catalog::FindUploadByRow(txn, shard_row));
  ShardResult result;
  result.world_size = row->world_size;
  if (row->checkpoint_id != 0) {
    result.shards_durable = row->world_size;
    ASSIGN_OR_RETURN(result.checkpoint, DescribeCheckpoint(txn, row->checkpoint_id));
    return result;
  }
  ASSIGN_OR_RETURN(result.shards_durable, catalog::CountDurable(txn, row->checkpoint_row));
  return result;
}

absl::StatusOr<Store::ShardResult> Store::CommitShard(const std::string& upload_id) {
  absl::StatusOr<std::shared_ptr<Upload>> upload = FindUpload(upload_id);
  if (!upload.ok()) {
    // Committed before: answer as the first time.
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
    ASSIGN_OR_RETURN(auto row, catalog::FindUploadByRow(*txn, Upload::RowOf(upload_id)));
    if (row && row->durable) return ResultOf(*txn, row->shard_row);
    return upload.status();
  }
  const Stopwatch watch;
  absl::Status finished = (*upload)->Finish();  // bytes first
  if (!finished.ok()) {
    if ((*upload)->dead()) AbandonPack(*upload);
    return finished;
  }
  absl::StatusOr<ShardResult> result = RecordShard(**upload);  // it exists from here
  // What is missing of one that was all received, whoever opens it again is told.
  if (result.ok() || ckpt::HasReason(result.status(), ckpt::reason::kChunksMissing)) {
    ForgetUpload((*upload)->row().shard_row);
  }
  RETURN_IF_ERROR(result.status());
  metrics_->commit_seconds.Observe(watch.Elapsed());
  janitor_->Wake();  // retention was decided with the commit; now the space
  packer_->Look((*upload)->row().run_id);
  return result;
}

absl::StatusOr<Store::ShardResult> Store::RecordShard(Upload& upload) {
  absl::Time now = clock_->Now();
  PackId pack = upload.pack();
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  // The row may have been dropped or, by a racing commit, finished meanwhile.
  ASSIGN_OR_RETURN(auto row, catalog::FindUploadByRow(*txn, upload.row().shard_row));
  if (!row) return UploadNotFound(Upload::IdOf(upload.row().shard_row));
  if (row->durable) return ResultOf(*txn, row->shard_row);
  ASSIGN_OR_RETURN(auto run, catalog::FindRunById(*txn, row->run_id));
  if (!run) return UploadNotFound(Upload::IdOf(row->shard_row));
  if (run->deleted) return RunNotFound(run->name);
  if (row->attempt != run->newest_attempt) {
    return AttemptFenced(run->name, row->attempt, run->newest_attempt);
  }
  ASSIGN_OR_RETURN(auto attempt, catalog::FindAttempt(*txn, run->id, row->attempt));
  ASSIGN_OR_RETURN(const uint64_t damaged,
                   catalog::CountDamagedChunksOf(*txn, row->project_id));
  RETURN_IF_ERROR(catalog::InsertChunks(*txn, row->project_id, row->shard_row, upload.stored()));
  if (pack != 0) RETURN_IF_ERROR(catalog::SealPack(*txn, pack));
  std::vector<int64_t> healed;
  if (damaged > 0) {
    // To look through all that is flagged takes its time.
    ASSIGN_OR_RETURN(const uint64_t left,
                     catalog::CountDamagedChunksOf(*txn, row->project_id));
    if (left < damaged) {
      ASSIGN_OR_RETURN(healed, HealIntact(*txn, "what was damaged was pushed again", now));
    }
    // Found damaged since this upload was told that they are there.
    ASSIGN_OR_RETURN(const int64_t missing, catalog::DropDamagedReferences(*txn, row->project_id,
                                                                           row->shard_row));
    if (missing > 0) {
      RETURN_IF_ERROR(txn->Commit());
      for (const int64_t run_id : healed) janitor_->JudgeAt(run_id, now);
      return ckpt::MakeError(
          absl::StatusCode::kFailedPrecondition, ckpt::reason::kChunksMissing,
          fmt::format("{} chunks of upload {} were found damaged meanwhile; open it again to learn "
                      "which",
                      missing, Upload::IdOf(row->shard_row)));
    }
  }
  // Asked again: a limit may have been set since the upload was opened.
  RETURN_IF_ERROR(CheckQuota(*txn, row->project_id, 0));
  ASSIGN_OR_RETURN(uint32_t durable, catalog::CountDurable(*txn, row->checkpoint_row));
  uint32_t timeline = 0;
  if (durable + 1 == row->world_size) {
    ASSIGN_OR_RETURN(timeline, ChooseTimeline(*txn, *run, *attempt, row->step));
    ASSIGN_OR_RETURN(run,
                     catalog::FindRunById(*txn, row->run_id));  // its timeline may have changed
  }
  ASSIGN_OR_RETURN(uint64_t id, catalog::FinishShard(*txn, row->shard_row, timeline, now));
  ShardResult result;
  std::vector<ckpt::Checkpoint> judged, given;
  result.world_size = row->world_size;
  result.shards_durable = durable + 1;
  if (id != 0) {
    ASSIGN_OR_RETURN(result.checkpoint, catalog::FindCheckpoint(*txn, id));
    RETURN_IF_ERROR(AddEvent(*txn, run->id, ckpt::Event::Kind::kCommitted, id, row->step,
                             fmt::format("committed by attempt {} on timeline {}, {} bytes, {} new "
                                         "on disk",
                                         row->attempt, timeline, result.checkpoint->bytes,
                                         result.checkpoint->stored_bytes)));
    if (damaged > 0) {
      // Another rank's chunks may have been found damaged after it was through.
      RETURN_IF_ERROR(FlagIfDamaged(*txn, id, now));
      ASSIGN_OR_RETURN(result.checkpoint, catalog::FindCheckpoint(*txn, id));
    }
    ckpt::Policy policy = PolicyOf(*run);
    ASSIGN_OR_RETURN(Judgement judgement,
                     JudgeSome(*txn, *run, policy, leases_, now, {*result.checkpoint}));
    RETURN_IF_ERROR(RemoveJudged(*txn, *run, policy, judgement, now).status());
    ASSIGN_OR_RETURN(given, KeepToBudget(*txn, run->project_id));
    for (const ckpt::Checkpoint& c : judgement.checkpoints) {
      if (c.id == id) result.checkpoint = c;
    }
    if (judgement.next_change) janitor_->JudgeAt(run->id, *judgement.next_change);
    judged = std::move(judgement.checkpoints);
  }
  const Stopwatch watch;
  RETURN_IF_ERROR(txn->Commit());
  metrics_->catalog_commit_seconds.Observe(watch.Elapsed());
  CountPush(upload);
  for (const int64_t run_id : healed) janitor_->JudgeAt(run_id, now);
  if (id != 0) {
    metrics_->checkpoints_committed.Add();
    metrics_->CountVerdicts(judged);
    metrics_->CountVerdicts(given);
    spdlog::info("committed {}@{} (id {}): {} bytes, {} new on disk; kept as {}",
                 run->name.ToString(), row->step, id, result.checkpoint->bytes,
                 result.checkpoint->stored_bytes, ckpt::ReasonsText(result.checkpoint->verdict));
    LogGiven(given);
  }
  return result;
}

void Store::CountPush(const Upload& upload) {
  const uint64_t bytes = upload.manifest().bytes();
  uint64_t sent = 0, stored = 0;
  for (const StoredChunk& chunk : upload.stored()) {
    sent += chunk.location.length;
    stored += chunk.location.extent;
  }
  metrics_->pushes.Add();
  metrics_->pushed_bytes.Add(bytes);
  metrics_->shared_bytes.Add(bytes - sent);
  metrics_->stored_bytes.Add(stored);
}

absl::StatusOr<uint32_t> Store::ChooseTimeline(catalog::WriteTxn& txn, const catalog::RunRow& run,
                                               const catalog::AttemptRow& attempt, uint64_t step) {
  uint64_t fork = 0;
  std::string why;
  if (attempt.timeline != 0) {
    ASSIGN_OR_RETURN(auto end, catalog::ListCheckpoints(
                                   txn, run.id, {.timeline = attempt.timeline, .limit = 1}));
    if (end.empty() || step > end[0].step) return attempt.timeline;
    if (step > 0) {
      ASSIGN_OR_RETURN(
          auto before,
          catalog::ListCheckpoints(
              txn, run.id, {.max_step = step - 1, .timeline = attempt.timeline, .limit = 1}));
      if (!before.empty()) fork = before[0].id;
    }
    why = fmt::format("attempt {} went back from step {} to {}", attempt.number, end[0].step, step);
  } else {
    ASSIGN_OR_RETURN(Line line, LoadLine(txn, run));
    // Down to the newest on the line, also where that is damaged.
    ASSIGN_OR_RETURN(auto committed, ListDownToWhole(txn, run.id, line, 0));
    auto end = std::find_if(committed.begin(), committed.end(), [&](const ckpt::Checkpoint& c) {
      return line.Contains(c.timeline, c.id);
    });
    ASSIGN_OR_RETURN(auto origin, catalog::FindCheckpoint(txn, attempt.resumed_from));
    bool own = origin && origin->run == run.name;
    bool goes_on = end == committed.end();
    if (!goes_on && own) {
      // The same step again is the same state, saved once more.
      goes_on = origin->id == end->id && step >= end->step;
    } else if (!goes_on) {
      goes_on = step > end->step;
    }
    if (goes_on) {
      RETURN_IF_ERROR(
          catalog::SetAttemptTimeline(txn, run.id, attempt.number, run.current_timeline));
      return run.current_timeline;
    }
    if (own) {
      fork = origin->id;
      why = origin->id == end->id ? fmt::format("attempt {} went back from step {} to {}",
                                                attempt.number, origin->step, step)
                                  : fmt::format("attempt {} resumed from step {}, not the newest",
                                                attempt.number, origin->step);
    } else {
      why = fmt::format("attempt {} started from scratch", attempt.number);
    }
  }
  ASSIGN_OR_RETURN(ckpt::Timeline timeline,
                   catalog::InsertTimeline(txn, run.id, fork, why, clock_->Now()));
  RETURN_IF_ERROR(catalog::SetAttemptTimeline(txn, run.id, attempt.number, timeline.number));
  RETURN_IF_ERROR(AddEvent(txn, run.id, ckpt::Event::Kind::kTimeline, fork, 0,
                           fmt::format("timeline {} begins: {}", timeline.number, why)));
  return timeline.number;
}

}  // namespace ckptd
