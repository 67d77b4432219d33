// Resolving selectors, reading chunks, verifying.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/store/errors.h"
#include "daemon/store/selection.h"
#include "daemon/store/store.h"
#include "proto/chunking.h"

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
  ASSIGN_OR_RETURN(auto manifest, catalog::FindManifest(*txn, checkpoint_id, rank));
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

absl::Status Store::Reader::Read(uint32_t index, std::span<std::byte> out, bool compare) {
  const ckpt::Digest& digest = manifest_.chunks[index].digest;
  auto known = locations_.find(digest);
  StoredChunk chunk{digest, known == locations_.end() ? ChunkLocation{} : known->second};
  absl::Status status =
      known == locations_.end()
          ? ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kChunkDamaged,
                            fmt::format("chunk {} is not in the store", digest.Hex()))
          : store_->chunks_->Read(digest, chunk.location, out, compare);
  for (int moves = 0; absl::IsDataLoss(status) && moves < kMaxMoves; ++moves) {
    ASSIGN_OR_RETURN(const bool moved, store_->FindMoved(checkpoint_id_, chunk));
    if (!moved) break;
    status = store_->chunks_->Read(digest, chunk.location, out, compare);
  }
  if (absl::IsDataLoss(status)) {
    std::string text =
        fmt::format("rank {}, chunk {}: {}", rank_, index, std::string(status.message()));
    chunk = store_->FindCulprit(chunk);
    absl::Status marked = store_->MarkDamaged(checkpoint_id_, chunk.digest, chunk.location, text);
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

absl::Status Store::MarkDamaged(uint64_t checkpoint_id, const ckpt::Digest& digest,
                                const ChunkLocation& location, const std::string& text) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(auto read, catalog::FindCheckpoint(*txn, checkpoint_id));
  if (!read || read->removed_at) return absl::OkStatus();
  ASSIGN_OR_RETURN(auto run, catalog::FindRun(*txn, read->run));
  ASSIGN_OR_RETURN(auto found, catalog::FindChunks(*txn, run->project_id, {digest}));
  // Healed since the reader looked where it lies: what was read is nobody's.
  if (found.contains(digest) && found.at(digest) != location) return absl::OkStatus();
  RETURN_IF_ERROR(catalog::MarkChunkDamaged(*txn, run->project_id, digest));
  ASSIGN_OR_RETURN(std::vector<uint64_t> users, catalog::ListUsers(*txn, run->project_id, digest));
  if (users.empty()) users.push_back(checkpoint_id);
  uint64_t flagged = 0;
  for (uint64_t id : users) {
    ASSIGN_OR_RETURN(auto checkpoint, catalog::FindCheckpoint(*txn, id));
    if (!checkpoint || !checkpoint->damage.empty()) continue;
    const std::string damage = id == checkpoint_id
                                   ? text
                                   : fmt::format(
                                         "it shares chunk {} with checkpoint {}@{}, where it was "
                                         "found damaged",
                                         digest.Hex(), read->run.ToString(), read->step);
    ASSIGN_OR_RETURN(int64_t run_id, catalog::RunIdOf(*txn, id));
    RETURN_IF_ERROR(catalog::SetDamage(*txn, id, damage));
    RETURN_IF_ERROR(
        AddEvent(*txn, run_id, ckpt::Event::Kind::kDamaged, id, checkpoint->step, damage));
    spdlog::error("checkpoint {}@{} (id {}) is damaged: {}", checkpoint->run.ToString(),
                  checkpoint->step, id, damage);
    ++flagged;
  }
  RETURN_IF_ERROR(txn->Commit());
  metrics_->damaged_chunks.Add();
  metrics_->damaged_checkpoints.Add(flagged);
  return absl::OkStatus();
}

absl::Status Store::Heal(uint64_t checkpoint_id) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(auto checkpoint, catalog::FindCheckpoint(*txn, checkpoint_id));
  if (!checkpoint || checkpoint->removed_at || checkpoint->damage.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(int64_t run_id, catalog::RunIdOf(*txn, checkpoint_id));
  RETURN_IF_ERROR(catalog::SetDamage(*txn, checkpoint_id, ""));
  std::string text = fmt::format("verified, every byte is as it was pushed; it was flagged: {}",
                                 checkpoint->damage);
  spdlog::info("checkpoint {}@{} (id {}) is whole: {}", checkpoint->run.ToString(),
               checkpoint->step, checkpoint_id, text);
  RETURN_IF_ERROR(AddEvent(*txn, run_id, ckpt::Event::Kind::kHealed, checkpoint_id,
                           checkpoint->step, std::move(text)));
  return txn->Commit();
}

absl::Status Store::Verify(const ckpt::RunName& name, uint64_t checkpoint_id,
                           const std::function<bool(const VerifyProgress&)>& report) {
  std::vector<ckpt::Checkpoint> checkpoints;
  {
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
    ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, name));
    if (checkpoint_id != 0) {
      ASSIGN_OR_RETURN(ckpt::Checkpoint one, RequireCheckpoint(*txn, name, checkpoint_id));
      checkpoints.push_back(std::move(one));
    } else {
      ASSIGN_OR_RETURN(checkpoints, catalog::ListCheckpoints(*txn, run.id, {}));
    }
  }
  VerifyProgress progress;
  for (const ckpt::Checkpoint& c : checkpoints) progress.bytes_total += c.bytes;
  std::vector<std::byte> buffer;
  for (const ckpt::Checkpoint& c : checkpoints) {
    bool whole = true;
    for (uint32_t rank = 0; rank < c.world_size; ++rank) {
      absl::StatusOr<std::unique_ptr<Reader>> reader = OpenReader(c.id, rank);
      if (absl::IsNotFound(reader.status())) {  // removed since it was listed
        whole = false;
        break;
      }
      RETURN_IF_ERROR(reader.status());
      const ckpt::Manifest& manifest = (*reader)->manifest();
      std::vector<uint64_t> offsets = ckpt::ChunkOffsets(manifest);
      for (uint32_t i = 0; i < manifest.chunks.size(); ++i) {
        buffer.resize(manifest.chunks[i].length);
        absl::Status status = (*reader)->Read(i, buffer);
        if (absl::IsDataLoss(status)) {
          whole = false;
          for (const ckpt::Entry& entry : manifest.entries) {
            if (entry.offset < offsets[i + 1] && entry.offset + entry.length > offsets[i]) {
              progress.damages.push_back(
                  {c.id, c.step, rank, entry.name, std::string(status.message())});
            }
          }
        } else if (!status.ok()) {
          return status;
        }
        progress.bytes_done += manifest.chunks[i].length;
        ++progress.chunks_done;
        if (!report(progress)) return absl::CancelledError("the verification was cancelled");
        progress.damages.clear();
      }
    }
    if (whole && !c.damage.empty()) RETURN_IF_ERROR(Heal(c.id));
  }
  report(progress);
  return absl::OkStatus();
}

}  // namespace ckptd
