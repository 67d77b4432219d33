#include "daemon/store/damage.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/catalog/damage.h"
#include "daemon/catalog/events.h"

namespace ckptd {
namespace {

std::string Name(const ckpt::Checkpoint& checkpoint) {
  return fmt::format("{}@{}", checkpoint.run.ToString(), checkpoint.step);
}

absl::Status AddEvent(catalog::WriteTxn& txn, const ckpt::Checkpoint& checkpoint,
                      ckpt::Event::Kind kind, std::string text, absl::Time now) {
  ASSIGN_OR_RETURN(const int64_t run_id, catalog::RunIdOf(txn, checkpoint.id));
  return catalog::InsertEvent(txn, run_id,
                              {0, now, kind, checkpoint.id, checkpoint.step, std::move(text)});
}

// How many were flagged: one that is already keeps the first text.
absl::StatusOr<uint64_t> Flag(catalog::WriteTxn& txn, const ckpt::Checkpoint& checkpoint,
                  const std::string& damage, bool on_disk, absl::Time now) {
  if (!checkpoint.damage.empty()) return 0;
  RETURN_IF_ERROR(on_disk ? catalog::SetDamageOnDisk(txn, checkpoint.id, damage)
                          : catalog::SetDamage(txn, checkpoint.id, damage));
  spdlog::error("checkpoint {} (id {}) is damaged: {}", Name(checkpoint), checkpoint.id, damage);
  RETURN_IF_ERROR(AddEvent(txn, checkpoint, ckpt::Event::Kind::kDamaged, damage, now));
  return 1;
}

}  // namespace

absl::StatusOr<Flagged> FlagChunk(catalog::WriteTxn& txn, const FoundDamage& found,
                                  absl::Time now) {
  Flagged flagged;
  const auto& [digest, location] = found.chunk;
  ASSIGN_OR_RETURN(const auto there, catalog::FindChunks(txn, found.project_id, {digest}));
  const auto it = there.find(digest);
  if (it != there.end() && it->second != location) return flagged;
  ASSIGN_OR_RETURN(const auto read_for, catalog::FindCheckpoint(txn, found.read_for));
  if (it == there.end()) {
    // Its manifest names what the project does not have.
    if (!read_for) return flagged;
    flagged.found = true;
    ASSIGN_OR_RETURN(flagged.checkpoints,
                     Flag(txn, *read_for, found.text, /*on_disk=*/false, now));
    return flagged;
  }
  flagged.found = true;
  RETURN_IF_ERROR(catalog::MarkChunkDamaged(txn, found.project_id, digest));
  ASSIGN_OR_RETURN(const std::vector<uint64_t> users,
                   catalog::ListUsers(txn, found.project_id, digest));
  for (const uint64_t id : users) {
    ASSIGN_OR_RETURN(const auto checkpoint, catalog::FindCheckpoint(txn, id));
    if (!checkpoint) continue;
    const bool is_shared = read_for && id != read_for->id;
    const std::string text =
        is_shared ? fmt::format("it shares chunk {} with checkpoint {}, where it was found damaged",
                                digest.Hex(), Name(*read_for))
                  : found.text;
    ASSIGN_OR_RETURN(const uint64_t count, Flag(txn, *checkpoint, text, /*on_disk=*/true, now));
    flagged.checkpoints += count;
  }
  return flagged;
}

absl::StatusOr<Flagged> FlagManifest(catalog::WriteTxn& txn, uint64_t checkpoint_id, uint32_t rank,
                                     absl::Time now) {
  Flagged flagged;
  const auto manifest = catalog::FindManifest(txn, checkpoint_id, rank);
  if (!ckpt::HasReason(manifest.status(), ckpt::reason::kManifestDamaged)) {
    RETURN_IF_ERROR(manifest.status());
    return flagged;
  }
  flagged.found = true;
  ASSIGN_OR_RETURN(const auto checkpoint, catalog::FindCheckpoint(txn, checkpoint_id));
  RETURN_IF_ERROR(catalog::MarkManifest(txn, checkpoint_id, rank, /*damaged=*/true));
  const std::string text =
      fmt::format("rank {}: {}", rank, std::string(manifest.status().message()));
  ASSIGN_OR_RETURN(flagged.checkpoints, Flag(txn, *checkpoint, text, /*on_disk=*/true, now));
  return flagged;
}

absl::Status FlagIfDamaged(catalog::WriteTxn& txn, uint64_t checkpoint_id, absl::Time now) {
  ASSIGN_OR_RETURN(const auto chunks, catalog::ListDamagedChunks(txn, checkpoint_id, /*limit=*/1));
  if (chunks.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto checkpoint, catalog::FindCheckpoint(txn, checkpoint_id));
  return Flag(txn, *checkpoint,
              fmt::format("chunk {} was found damaged before it was committed",
                          chunks[0].digest.Hex()),
              /*on_disk=*/true, now)
      .status();
}

absl::StatusOr<std::vector<int64_t>> HealIntact(catalog::WriteTxn& txn, std::string_view why,
                                                absl::Time now) {
  ASSIGN_OR_RETURN(const std::vector<uint64_t> healed, catalog::ListHealed(txn));
  std::vector<int64_t> runs;
  for (const uint64_t id : healed) {
    RETURN_IF_ERROR(HealCheckpoint(txn, id, why, now));
    ASSIGN_OR_RETURN(const int64_t run_id, catalog::RunIdOf(txn, id));
    if (runs.empty() || runs.back() != run_id) runs.push_back(run_id);
  }
  return runs;
}

absl::Status HealCheckpoint(catalog::WriteTxn& txn, uint64_t checkpoint_id, std::string_view why,
                            absl::Time now) {
  ASSIGN_OR_RETURN(const auto checkpoint, catalog::FindCheckpoint(txn, checkpoint_id));
  if (!checkpoint || checkpoint->damage.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(catalog::SetDamage(txn, checkpoint_id, ""));
  std::string text = fmt::format("{}; it was flagged: {}", why, checkpoint->damage);
  spdlog::info("checkpoint {} (id {}) is whole again: {}", Name(*checkpoint), checkpoint_id, text);
  return AddEvent(txn, *checkpoint, ckpt::Event::Kind::kHealed, std::move(text), now);
}

}  // namespace ckptd
