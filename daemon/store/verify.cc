// Verifying on demand, and the scrub.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/damage.h"
#include "daemon/store/damage.h"
#include "daemon/store/errors.h"
#include "daemon/store/reader.h"
#include "proto/chunking.h"

namespace ckptd {
namespace {

absl::Status Cancelled() { return absl::CancelledError("the verification was cancelled"); }

using Progress = Store::VerifyProgress;
using Position = Store::VerifyPosition;

// Those of a run, in the order in which they are verified, that come behind `after`.
absl::StatusOr<std::vector<ckpt::Checkpoint>> ListBehind(catalog::ReadTxn& txn,
                                                         const catalog::RunRow& run,
                                                         const std::optional<Position>& after) {
  ASSIGN_OR_RETURN(std::vector<ckpt::Checkpoint> checkpoints,
                   catalog::ListCheckpoints(txn, run.id, {}));
  if (after && after->run == run.name) {
    std::erase_if(checkpoints,
                  [&](const ckpt::Checkpoint& c) { return c.id >= after->checkpoint_id; });
  }
  return checkpoints;
}

uint64_t SumBytes(const std::vector<ckpt::Checkpoint>& checkpoints) {
  uint64_t bytes = 0;
  for (const ckpt::Checkpoint& c : checkpoints) bytes += c.bytes;
  return bytes;
}

// Whether all of it is as it was pushed; adds to `progress`.
absl::StatusOr<bool> VerifyShard(Store& store, const ckpt::Checkpoint& c, uint32_t rank,
                                 Progress& progress,
                                 const std::function<bool(const Progress&)>& report) {
  const auto add = [&](const std::string& entry, const absl::Status& status) {
    progress.damages.push_back({c.run, c.id, c.step, rank, entry, std::string(status.message())});
  };
  absl::StatusOr<std::unique_ptr<Store::Reader>> reader = store.OpenReader(c.id, rank);
  if (ckpt::HasReason(reader.status(), ckpt::reason::kManifestDamaged)) {
    add("", reader.status());
    return false;
  }
  RETURN_IF_ERROR(reader.status());
  const ckpt::Manifest& manifest = (*reader)->manifest();
  const std::vector<uint64_t> offsets = ckpt::ChunkOffsets(manifest);
  bool whole = true;
  for (uint32_t i = 0; i < manifest.chunks.size(); ++i) {
    absl::Status status = (*reader)->Check(i);
    if (absl::IsDataLoss(status)) {
      whole = false;
      for (const ckpt::Entry& entry : manifest.entries) {
        if (entry.offset < offsets[i + 1] && entry.offset + entry.length > offsets[i]) {
          add(entry.name, status);
        }
      }
    } else if (!status.ok()) {
      return status;
    }
    progress.bytes_done += manifest.chunks[i].length;
    ++progress.chunks_done;
    if (!report(progress)) return Cancelled();
    progress.damages.clear();
  }
  return whole;
}

}  // namespace

absl::Status Store::Verify(const ckpt::RunName& name, uint64_t checkpoint_id,
                           const std::function<bool(const VerifyProgress&)>& report,
                           const std::optional<VerifyPosition>& after) {
  std::vector<ckpt::Checkpoint> checkpoints;
  {
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
    ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
    if (checkpoint_id != 0) {
      ASSIGN_OR_RETURN(ckpt::Checkpoint one, RequireCheckpoint(*txn, name, checkpoint_id));
      checkpoints.push_back(std::move(one));
    } else {
      ASSIGN_OR_RETURN(checkpoints, ListBehind(*txn, run, after));
    }
  }
  VerifyProgress progress;
  progress.bytes_total = SumBytes(checkpoints);
  return VerifyThese(checkpoints, progress, report);
}

absl::Status Store::VerifyAll(const std::string& project,
                              const std::function<bool(const VerifyProgress&)>& report,
                              const std::optional<VerifyPosition>& after) {
  std::vector<catalog::RunRow> runs;
  VerifyProgress progress;
  {
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
    ASSIGN_OR_RETURN(runs, catalog::ListRuns(*txn, project, "", std::nullopt, UINT32_MAX));
    if (runs.empty() && !project.empty()) return ProjectHasNoRuns(project);
    if (after) {
      std::erase_if(runs, [&](const catalog::RunRow& run) { return run.name < after->run; });
    }
    for (const catalog::RunRow& run : runs) {
      if (after && run.name == after->run) {
        ASSIGN_OR_RETURN(const auto left, ListBehind(*txn, run, after));
        progress.bytes_total += SumBytes(left);
        continue;
      }
      ASSIGN_OR_RETURN(const auto figures, catalog::GetRunFigures(*txn, run.id));
      progress.bytes_total += figures.bytes;
    }
  }
  for (const catalog::RunRow& run : runs) {
    std::vector<ckpt::Checkpoint> checkpoints;
    {
      ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
      ASSIGN_OR_RETURN(checkpoints, ListBehind(*txn, run, after));
    }
    RETURN_IF_ERROR(VerifyThese(checkpoints, progress, report));
  }
  return absl::OkStatus();
}

absl::Status Store::VerifyThese(const std::vector<ckpt::Checkpoint>& checkpoints,
                                VerifyProgress& progress,
                                const std::function<bool(const VerifyProgress&)>& report) {
  for (const ckpt::Checkpoint& c : checkpoints) {
    bool whole = true;
    for (uint32_t rank = 0; rank < c.world_size; ++rank) {
      const absl::StatusOr<bool> shard = VerifyShard(*this, c, rank, progress, report);
      if (absl::IsNotFound(shard.status())) {  // removed since it was listed
        whole = false;
        break;
      }
      RETURN_IF_ERROR(shard.status());
      whole &= *shard;
    }
    const absl::Status healed = whole ? Heal(c.id) : absl::OkStatus();
    if (absl::IsDataLoss(healed)) {
      progress.damages.push_back({c.run, c.id, c.step, 0, "", std::string(healed.message())});
    } else {
      RETURN_IF_ERROR(healed);
    }
    progress.position = {c.run, c.id};
    if (!report(progress)) return Cancelled();
    progress.position.reset();
    progress.damages.clear();
  }
  return absl::OkStatus();
}

absl::Status Store::Heal(uint64_t checkpoint_id) {
  constexpr char kWhy[] = "verified, every byte is as it was pushed";
  std::vector<StoredChunk> flagged;
  int64_t project_id = 0;
  {
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
    ASSIGN_OR_RETURN(auto checkpoint, catalog::FindCheckpoint(*txn, checkpoint_id));
    if (!checkpoint || checkpoint->removed_at) return absl::OkStatus();
    ASSIGN_OR_RETURN(flagged, catalog::ListDamagedChunks(*txn, checkpoint_id));
    if (checkpoint->damage.empty() && flagged.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(auto run, catalog::FindRun(*txn, checkpoint->run));
    if (!run) return RunNotFound(checkpoint->run);
    project_id = run->project_id;
  }
  // Bases were decoded from, but maybe from memory.
  for (const StoredChunk& chunk : flagged) {
    for (const StoredChunk* link = &chunk; link != nullptr; link = link->location.base.get()) {
      RETURN_IF_ERROR(chunks_->Check(link->digest, link->location));
    }
  }
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  for (const StoredChunk& chunk : flagged) {
    RETURN_IF_ERROR(catalog::MarkChainWhole(*txn, project_id, chunk.digest));
  }
  RETURN_IF_ERROR(catalog::MarkManifestsWhole(*txn, checkpoint_id));
  RETURN_IF_ERROR(HealCheckpoint(*txn, checkpoint_id, kWhy, clock_->Now()));
  ASSIGN_OR_RETURN(std::vector<int64_t> runs, HealIntact(*txn, kWhy, clock_->Now()));
  ASSIGN_OR_RETURN(const int64_t run_id, catalog::RunIdOf(*txn, checkpoint_id));
  runs.push_back(run_id);
  RETURN_IF_ERROR(txn->Commit());
  for (const int64_t run : runs) janitor_->JudgeAt(run, clock_->Now());
  return absl::OkStatus();
}

absl::StatusOr<ckpt::Scrub> Store::GetScrub() { return scrubbing_->Describe(); }

absl::StatusOr<ckpt::Scrub> Store::StartScrub() {
  RETURN_IF_ERROR(scrubbing_->Ask());
  scrubber_->Wake();
  return scrubbing_->Describe();
}

}  // namespace ckptd
