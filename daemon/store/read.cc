// Resolving selectors, reading chunks.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/store/damage.h"
#include "daemon/store/errors.h"
#include "daemon/store/selection.h"
#include "daemon/store/store.h"

namespace ckptd {
namespace {

// How often a chunk may move between a reader's look and its read of it. Far
// more than happens: something else is wrong then.
constexpr int kMaxMoves = 8;

// The same record, and the same of all bases.
bool IsSame(const ChunkLocation& a, const ChunkLocation& b) {
  if (a != b || (a.base == nullptr) != (b.base == nullptr)) return false;
  return a.base == nullptr || IsSame(a.base->location, b.base->location);
}

}  // namespace

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
  auto reader = std::make_unique<Reader>();
  reader->store_ = this;
  reader->checkpoint_id_ = checkpoint_id;
  reader->rank_ = rank;
  // Leased before it is looked up: see ReclaimBatch.
  reader->lease_ = leases_.Acquire(checkpoint_id);
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
  reader->manifest_ = *std::move(manifest);
  ASSIGN_OR_RETURN(reader->locations_, catalog::CheckpointChunks(*txn, checkpoint_id, rank));
  return reader;
}

absl::StatusOr<std::unique_ptr<os::SharedBytes>> Store::Reader::Read(uint32_t index,
                                                                     bool compare) {
  std::unique_ptr<os::SharedBytes> view;
  RETURN_IF_ERROR(ReadWith(index, [&](const StoredChunk& chunk) -> absl::Status {
    ASSIGN_OR_RETURN(view, store_->chunks_->View(chunk.digest, chunk.location, compare));
    return absl::OkStatus();
  }));
  return view;
}

absl::Status Store::Reader::Check(uint32_t index, std::span<std::byte> buffer) {
  return ReadWith(index, [&](const StoredChunk& chunk) {
    const auto& [digest, location] = chunk;
    RETURN_IF_ERROR(store_->chunks_->Check(digest, location));
    // Whether an encoded one decodes to what it should, its bases say as well.
    return location.encoded == 0 ? absl::OkStatus()
                                 : store_->chunks_->Read(digest, location, buffer, true);
  });
}

template <typename F>
absl::Status Store::Reader::ReadWith(uint32_t index, F read) {
  const ckpt::Digest& digest = manifest_.chunks[index].digest;
  auto known = locations_.find(digest);
  StoredChunk chunk{digest, known == locations_.end() ? ChunkLocation{} : known->second};
  absl::Status status =
      known == locations_.end()
          ? ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kChunkDamaged,
                            fmt::format("chunk {} is not in the store", digest.Hex()))
          : read(chunk);
  for (int moves = 0; absl::IsDataLoss(status) && moves < kMaxMoves; ++moves) {
    ASSIGN_OR_RETURN(const bool moved, store_->FindMoved(checkpoint_id_, chunk));
    if (!moved) break;
    status = read(chunk);
  }
  if (absl::IsDataLoss(status)) {
    std::string text =
        fmt::format("rank {}, chunk {}: {}", rank_, index, std::string(status.message()));
    chunk = store_->FindCulprit(chunk);
    absl::Status marked = store_->MarkDamaged(checkpoint_id_, chunk, text);
    if (!marked.ok()) {
      spdlog::error("checkpoint {} could not be marked damaged: {}", checkpoint_id_,
                    std::string(marked.message()));
    }
  }
  return status;
}

absl::StatusOr<bool> Store::FindMoved(uint64_t checkpoint_id, StoredChunk& chunk) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(auto checkpoint, catalog::FindCheckpoint(*txn, checkpoint_id));
  if (!checkpoint) return false;
  ASSIGN_OR_RETURN(auto run, catalog::FindRun(*txn, checkpoint->run));
  ASSIGN_OR_RETURN(auto found, catalog::FindChunks(*txn, run->project_id, {chunk.digest}));
  auto now = found.find(chunk.digest);
  if (now == found.end()) return false;
  if (IsSame(now->second, chunk.location)) return false;
  chunk.location = now->second;
  return true;
}

StoredChunk Store::FindCulprit(const StoredChunk& chunk) {
  std::vector<const StoredChunk*> chain;
  for (const StoredChunk* link = chunk.location.base.get(); link != nullptr;
       link = link->location.base.get()) {
    chain.push_back(link);
  }
  for (auto link = chain.rbegin(); link != chain.rend(); ++link) {
    std::vector<std::byte> bytes((*link)->location.length);
    if (absl::IsDataLoss(
            chunks_->Read((*link)->digest, (*link)->location, bytes, /*verify=*/true))) {
      return **link;
    }
  }
  return chunk;
}

void Store::Reader::Prefetch(std::span<const uint32_t> indices) {
  std::vector<ChunkLocation> locations;
  for (uint32_t index : indices) {
    auto it = locations_.find(manifest_.chunks[index].digest);
    if (it != locations_.end()) locations.push_back(it->second);
  }
  store_->chunks_->Prefetch(locations);
}

absl::Status Store::MarkDamaged(uint64_t checkpoint_id, const StoredChunk& chunk,
                                const std::string& text) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(auto read, catalog::FindCheckpoint(*txn, checkpoint_id));
  if (!read) return absl::OkStatus();
  ASSIGN_OR_RETURN(auto run, catalog::FindRun(*txn, read->run));
  ASSIGN_OR_RETURN(const Flagged flagged,
                   FlagChunk(*txn, {run->project_id, chunk, text, checkpoint_id}, clock_->Now()));
  if (!flagged.found) return absl::OkStatus();
  RETURN_IF_ERROR(txn->Commit());
  metrics_->damaged_chunks.Add();
  metrics_->damaged_checkpoints.Add(flagged.checkpoints);
  return absl::OkStatus();
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
