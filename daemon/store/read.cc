// Resolving selectors, opening what is to be read (reader.h).
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/store/damage.h"
#include "daemon/store/errors.h"
#include "daemon/store/reader.h"
#include "daemon/store/selection.h"

namespace ckptd {

absl::StatusOr<Store::Resolved> Store::Resolve(const ckpt::RunName& name,
                                               const ckpt::Selector& selector,
                                               bool include_removed) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
  ASSIGN_OR_RETURN(Selection selected, SelectIn(*txn, run, selector, PolicyOf(run)));
  if (selected.checkpoint) {
    ASSIGN_OR_RETURN(selected.checkpoint->verdict, VerdictOn(*txn, run, *selected.checkpoint));
    return Resolved{*std::move(selected.checkpoint),
                    selected.fell_back ? std::move(selected.explanation) : ""};
  }
  if (selected.fell_back) {
    return ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kNoWholeCheckpoint,
                           fmt::format("run {}: {}", name.ToString(), selected.explanation));
  }
  // A removed one is named only by its own step or id, and said to be gone.
  std::optional<ckpt::Checkpoint> removed;
  if (const auto* step = std::get_if<ckpt::SelectStep>(&selector)) {
    ASSIGN_OR_RETURN(removed, catalog::FindByStep(*txn, run.id, step->step, 0, true));
  } else if (const auto* id = std::get_if<ckpt::SelectId>(&selector)) {
    ASSIGN_OR_RETURN(removed, catalog::FindCheckpoint(*txn, id->id));
    if (removed && removed->run != name) removed.reset();
  }
  if (removed && include_removed) return Resolved{*removed, ""};
  if (removed) return CheckpointRemoved(*removed);
  absl::Status status = SelectorMatchesNothing(name, selector);
  return selected.explanation.empty() ? status : ckpt::Annotate(status, selected.explanation);
}

absl::StatusOr<std::unique_ptr<Store::Reader>> Store::OpenReader(uint64_t checkpoint_id,
                                                                 uint32_t rank) {
  // Leased before it is looked up: see ReclaimBatch.
  Lease lease = leases_.Acquire(checkpoint_id);
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(ckpt::Checkpoint checkpoint, RequireCheckpoint(*txn, {}, checkpoint_id));
  auto found = catalog::FindManifest(*txn, checkpoint_id, rank);
  if (ckpt::HasReason(found.status(), ckpt::reason::kManifestDamaged)) {
    txn.reset();
    if (absl::Status marked = MarkManifestDamaged(checkpoint_id, rank); !marked.ok()) {
      spdlog::error("checkpoint {} could not be marked damaged: {}", checkpoint_id,
                    std::string(marked.message()));
    }
    return ckpt::Annotate(found.status(), fmt::format("checkpoint {}@{} rank {} cannot be read",
                                                      checkpoint.run.ToString(), checkpoint.step,
                                                      rank));
  }
  ASSIGN_OR_RETURN(auto manifest, std::move(found));
  if (!manifest) {
    return ckpt::MakeError(
        absl::StatusCode::kNotFound, ckpt::reason::kRankNotFound,
        fmt::format("checkpoint {}@{} has {} shards, so there is no rank {}",
                    checkpoint.run.ToString(), checkpoint.step, checkpoint.world_size, rank));
  }
  ASSIGN_OR_RETURN(auto locations, catalog::CheckpointChunks(*txn, checkpoint_id, rank));
  return std::make_unique<Reader>(this, checkpoint_id, rank, *std::move(manifest),
                                  std::move(locations), std::move(lease));
}

absl::Status Store::MarkManifestDamaged(uint64_t checkpoint_id, uint32_t rank) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(const Flagged flagged,
                   FlagManifest(*txn, checkpoint_id, rank, clock_->Now()));
  RETURN_IF_ERROR(txn->Commit());
  metrics_->damaged_checkpoints.Add(flagged.checkpoints);
  return absl::OkStatus();
}

}  // namespace ckptd
