#include "daemon/store/reader.h"

#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/store/damage.h"

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

absl::StatusOr<std::unique_ptr<os::SharedBytes>> Store::Reader::Read(uint32_t index,
                                                                     bool compare) {
  std::unique_ptr<os::SharedBytes> bytes;
  RETURN_IF_ERROR(ReadWith(index, [&](const StoredChunk& chunk) -> absl::Status {
    ASSIGN_OR_RETURN(bytes, compare ? ReadCompared(chunk)
                                    : store_->chunks_->View(chunk.digest, chunk.location));
    return absl::OkStatus();
  }));
  return bytes;
}

absl::Status Store::Reader::Check(uint32_t index) {
  return ReadWith(index, [&](const StoredChunk& chunk) {
    const auto& [digest, location] = chunk;
    RETURN_IF_ERROR(store_->chunks_->Check(digest, location));
    // Whether an encoded one decodes to what it should, its bases say as well.
    return location.encoded == 0
               ? absl::OkStatus()
               : ReadCompared(chunk).status();
  });
}

absl::StatusOr<std::unique_ptr<os::SharedBytes>> Store::Reader::ReadCompared(
    const StoredChunk& chunk) {
  const auto& [digest, location] = chunk;
  auto bytes = std::make_unique<os::OwnBytes>(location.length);
  RETURN_IF_ERROR(store_->chunks_->Read(digest, location, bytes->memory(), /*verify=*/true));
  return bytes;
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
    ASSIGN_OR_RETURN(const bool moved, FindMoved(chunk));
    if (!moved) break;
    status = read(chunk);
  }
  if (absl::IsDataLoss(status)) {
    std::string text =
        fmt::format("rank {}, chunk {}: {}", rank_, index, std::string(status.message()));
    chunk = FindCulprit(chunk);
    absl::Status marked = MarkDamaged(chunk, text);
    if (!marked.ok()) {
      spdlog::error("checkpoint {} could not be marked damaged: {}", checkpoint_id_,
                    std::string(marked.message()));
    }
  }
  return status;
}

absl::StatusOr<bool> Store::Reader::FindMoved(StoredChunk& chunk) {
  ASSIGN_OR_RETURN(auto txn, store_->catalog_->BeginRead());
  ASSIGN_OR_RETURN(auto checkpoint, catalog::FindCheckpoint(*txn, checkpoint_id_));
  if (!checkpoint) return false;
  ASSIGN_OR_RETURN(auto run, catalog::FindRun(*txn, checkpoint->run));
  ASSIGN_OR_RETURN(auto found, catalog::FindChunks(*txn, run->project_id, {chunk.digest}));
  auto now = found.find(chunk.digest);
  if (now == found.end()) return false;
  if (IsSame(now->second, chunk.location)) return false;
  chunk.location = now->second;
  return true;
}

StoredChunk Store::Reader::FindCulprit(const StoredChunk& chunk) {
  std::vector<const StoredChunk*> chain;
  for (const StoredChunk* link = chunk.location.base.get(); link != nullptr;
       link = link->location.base.get()) {
    chain.push_back(link);
  }
  for (auto link = chain.rbegin(); link != chain.rend(); ++link) {
    if (absl::IsDataLoss(ReadCompared(**link).status())) return **link;
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

absl::Status Store::Reader::MarkDamaged(const StoredChunk& chunk, const std::string& text) {
  ASSIGN_OR_RETURN(auto txn, store_->catalog_->BeginWrite());
  ASSIGN_OR_RETURN(auto read, catalog::FindCheckpoint(*txn, checkpoint_id_));
  if (!read) return absl::OkStatus();
  ASSIGN_OR_RETURN(auto run, catalog::FindRun(*txn, read->run));
  ASSIGN_OR_RETURN(const Flagged flagged,
                   FlagChunk(*txn, {run->project_id, chunk, text, checkpoint_id_},
                             store_->clock_->Now()));
  if (!flagged.found) return absl::OkStatus();
  RETURN_IF_ERROR(txn->Commit());
  store_->metrics_->damaged_chunks.Add();
  store_->metrics_->damaged_checkpoints.Add(flagged.checkpoints);
  return absl::OkStatus();
}

}  // namespace ckptd
