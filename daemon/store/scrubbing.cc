#include "daemon/store/scrubbing.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/chunks.h"
#include "daemon/catalog/damage.h"
#include "daemon/store/damage.h"

namespace ckptd {
namespace {

using catalog::ScrubRow;

// Chunks that are looked up together, and whose damage is recorded together.
constexpr uint32_t kBatch = 16;

// By an I/O error, which says nothing of what lies there.
bool IsUnreadable(const absl::Status& status) { return !status.ok() && !absl::IsDataLoss(status); }

constexpr char kReadAgain[] = "the scrub has read what was damaged again, and it is right";

}  // namespace

absl::StatusOr<bool> Scrubbing::IsDue() const {
  ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginRead());
  ASSIGN_OR_RETURN(const ScrubRow row, catalog::GetScrub(*txn));
  if (row.under_way) return row.asked || parts_.automatic;
  if (!parts_.automatic) return false;
  // One that ended in the future was dated by another clock.
  const absl::Time now = parts_.now();
  return !row.ended_at || now >= *row.ended_at + parts_.interval || now < *row.ended_at;
}

absl::Status Scrubbing::Ask() {
  ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginWrite());
  ASSIGN_OR_RETURN(ScrubRow row, catalog::GetScrub(*txn));
  if (row.under_way && row.asked) return absl::OkStatus();
  if (!row.under_way) {
    ASSIGN_OR_RETURN(row, catalog::NewScrub(*txn, parts_.now()));
  }
  row.asked = true;
  RETURN_IF_ERROR(catalog::SetScrub(*txn, row));
  return txn->Commit();
}

absl::StatusOr<ckpt::Scrub> Scrubbing::Describe() const {
  ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginRead());
  ASSIGN_OR_RETURN(const ScrubRow row, catalog::GetScrub(*txn));
  ASSIGN_OR_RETURN(const auto figures, catalog::GetFigures(*txn, std::nullopt, std::nullopt));
  ckpt::Scrub scrub;
  scrub.automatic = parts_.automatic;
  scrub.under_way = row.under_way;
  scrub.started_at = row.started_at;
  scrub.ended_at = row.ended_at;
  if (parts_.automatic && !row.under_way && row.ended_at) {
    scrub.next_at = *row.ended_at + parts_.interval;
  }
  scrub.bytes = row.bytes;
  scrub.bytes_total = figures.stored_bytes;
  scrub.chunks = row.chunks;
  scrub.manifests = row.manifests;
  scrub.packs = row.packs;
  scrub.damaged_chunks = row.damaged_chunks;
  scrub.damaged_manifests = row.damaged_manifests;
  scrub.damaged_packs = row.damaged_packs;
  scrub.unreadable_chunks = row.unreadable;
  scrub.healed_chunks = row.healed;
  ASSIGN_OR_RETURN(scrub.quarantined_chunks, catalog::CountDamagedChunks(*txn));
  return scrub;
}

absl::Status Scrubbing::Run() {
  ScrubRow row;
  {
    ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginWrite());
    ASSIGN_OR_RETURN(row, catalog::GetScrub(*txn));
    if (!row.under_way) {
      ASSIGN_OR_RETURN(row, catalog::NewScrub(*txn, parts_.now()));
      RETURN_IF_ERROR(catalog::SetScrub(*txn, row));
      RETURN_IF_ERROR(txn->Commit());
    }
  }
  spdlog::info("scrub: a pass {}",
               row.bytes == 0 ? "begins" : fmt::format("goes on after {} bytes", row.bytes));
  saved_bytes_ = row.bytes;
  ASSIGN_OR_RETURN(bool all, ReadManifests(row));
  if (all) {
    ASSIGN_OR_RETURN(all, ReadPacks(row));
  }
  if (all) return End(row);
  ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginWrite());
  RETURN_IF_ERROR(Save(*txn, row));
  return txn->Commit();
}

absl::Status Scrubbing::Save(catalog::WriteTxn& txn, ScrubRow& row) {
  // Somebody may have asked for it meanwhile.
  ASSIGN_OR_RETURN(const ScrubRow stored, catalog::GetScrub(txn));
  row.asked = stored.asked;
  saved_bytes_ = row.bytes;
  return catalog::SetScrub(txn, row);
}

absl::Status Scrubbing::End(ScrubRow& row) {
  row.under_way = false;
  row.asked = false;
  row.ended_at = parts_.now();
  ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginWrite());
  RETURN_IF_ERROR(catalog::SetScrub(*txn, row));
  RETURN_IF_ERROR(txn->Commit());
  const std::string read = fmt::format("{} bytes in {} chunks of {} packs and {} manifests",
                                       row.bytes, row.chunks, row.packs, row.manifests);
  if (row.damaged_chunks + row.damaged_manifests + row.damaged_packs + row.unreadable == 0) {
    spdlog::info("scrub: read {}, all as they should be", read);
  } else {
    spdlog::error(
        "scrub: read {}; damaged are {} chunks, {} manifests and {} headers of packs, and {} "
        "chunks could not be read",
        read, row.damaged_chunks, row.damaged_manifests, row.damaged_packs, row.unreadable);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Scrubbing::ReadManifests(ScrubRow& row) {
  for (;;) {
    std::optional<catalog::ScrubManifest> manifest;
    {
      ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginRead());
      ASSIGN_OR_RETURN(manifest, catalog::NextManifest(*txn, row.shard_row, row.last_shard_row));
    }
    if (!manifest) return true;
    row.shard_row = manifest->shard_row;
    row.bytes += manifest->bytes;
    ++row.manifests;
    RETURN_IF_ERROR(RecordManifest(row, *manifest));
    if (!parts_.go_on(manifest->bytes)) return false;
  }
}

absl::Status Scrubbing::RecordManifest(ScrubRow& row, const catalog::ScrubManifest& manifest) {
  const bool has_news = !manifest.status.ok() || manifest.damaged;
  if (!has_news && row.bytes - saved_bytes_ < parts_.save_bytes) return absl::OkStatus();
  std::vector<int64_t> healed;
  Flagged flagged;
  ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginWrite());
  if (!manifest.status.ok()) {
    ++row.damaged_manifests;
    spdlog::error("scrub: {}", std::string(manifest.status.message()));
  }
  if (ckpt::HasReason(manifest.status, ckpt::reason::kManifestDamaged) &&
      manifest.checkpoint_id != 0) {
    ASSIGN_OR_RETURN(flagged, FlagManifest(*txn, manifest.checkpoint_id, manifest.rank,
                                           parts_.now()));
  } else if (manifest.status.ok() && manifest.damaged && manifest.checkpoint_id != 0) {
    RETURN_IF_ERROR(
        catalog::MarkManifest(*txn, manifest.checkpoint_id, manifest.rank, /*damaged=*/false));
    ASSIGN_OR_RETURN(healed, HealIntact(*txn, kReadAgain, parts_.now()));
  }
  RETURN_IF_ERROR(Save(*txn, row));
  RETURN_IF_ERROR(txn->Commit());
  parts_.metrics->damaged_checkpoints.Add(flagged.checkpoints);
  for (const int64_t run_id : healed) parts_.judge(run_id);
  return absl::OkStatus();
}

absl::StatusOr<bool> Scrubbing::ReadPacks(ScrubRow& row) {
  for (;;) {
    std::vector<catalog::ScrubChunk> chunks;
    {
      ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginRead());
      ASSIGN_OR_RETURN(
          chunks, catalog::ListToScrub(*txn, row.pack, row.pack_offset, row.last_pack, kBatch));
    }
    if (chunks.empty()) return true;
    std::vector<Odd> odd;
    std::vector<PackId> headers;
    bool go_on = true;
    for (size_t i = 0; go_on && i < chunks.size(); ++i) {
      const ckpt::Digest& digest = chunks[i].chunk.digest;
      const ChunkLocation& at = chunks[i].chunk.location;
      if (at.pack != row.pack) {
        ++row.packs;
        // Of a pack that is gone its chunks tell.
        if (absl::IsDataLoss(Twice([&] { return parts_.chunks->CheckHeader(at.pack); }))) {
          headers.push_back(at.pack);
        }
      }
      absl::Status status = Twice([&] { return parts_.chunks->Check(digest, at); });
      row.pack = at.pack;
      row.pack_offset = at.offset;
      row.bytes += at.extent;
      ++row.chunks;
      if (!status.ok() || chunks[i].damaged || chunks[i].unreadable > 0) {
        odd.push_back({chunks[i], std::move(status)});
      }
      go_on = parts_.go_on(at.extent);
    }
    const auto failed =
        std::ranges::count_if(odd, [](const Odd& one) { return IsUnreadable(one.status); });
    if (failed == kBatch) {
      // Not those chunks are at fault. Nothing is counted, nor gone past.
      return ckpt::Annotate(odd.back().status,
                            fmt::format("{} chunks in a row could not be read", failed));
    }
    RETURN_IF_ERROR(Record(row, odd, headers));
    if (!go_on) return false;
  }
}

absl::Status Scrubbing::Twice(const std::function<absl::Status()>& check) {
  absl::Status status;
  parts_.run_low([&] {
    status = check();
    if (!status.ok()) status = check();
  });
  return status;
}

absl::Status Scrubbing::Record(ScrubRow& row, const std::vector<Odd>& odd,
                               const std::vector<PackId>& headers) {
  if (odd.empty() && headers.empty() && row.bytes - saved_bytes_ < parts_.save_bytes) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginWrite());
  bool any_healed = false;
  uint64_t new_chunks = 0, new_checkpoints = 0;
  for (const Odd& one : odd) {
    Flagged flagged;
    ASSIGN_OR_RETURN(const bool healed, RecordChunk(*txn, row, one, flagged));
    new_chunks += flagged.found && !one.chunk.damaged;
    new_checkpoints += flagged.checkpoints;
    any_healed |= healed;
  }
  for (const PackId pack : headers) {
    ASSIGN_OR_RETURN(const bool holds, catalog::HoldsChunks(*txn, pack));
    if (!holds) continue;
    ++row.damaged_packs;
    spdlog::error(
        "scrub: the header of pack {:016x} is damaged; its chunks are read without it, but not "
        "recovered",
        pack);
  }
  std::vector<int64_t> healed;
  if (any_healed) {
    ASSIGN_OR_RETURN(healed, HealIntact(*txn, kReadAgain, parts_.now()));
  }
  RETURN_IF_ERROR(Save(*txn, row));
  RETURN_IF_ERROR(txn->Commit());
  parts_.metrics->damaged_chunks.Add(new_chunks);
  parts_.metrics->damaged_checkpoints.Add(new_checkpoints);
  for (const int64_t run_id : healed) parts_.judge(run_id);
  return absl::OkStatus();
}

absl::StatusOr<bool> Scrubbing::RecordChunk(catalog::WriteTxn& txn, ScrubRow& row, const Odd& odd,
                                            Flagged& flagged) {
  const catalog::ScrubChunk& chunk = odd.chunk;
  // Given back, moved or healed since it was listed: nobody's bytes were read.
  ASSIGN_OR_RETURN(const bool is_there, catalog::IsStillThere(txn, chunk));
  if (!is_there) return false;
  if (odd.status.ok()) {
    RETURN_IF_ERROR(catalog::MarkChunkWhole(txn, chunk.row));
    row.healed += chunk.damaged;
    return chunk.damaged;
  }
  std::string text(odd.status.message());
  if (IsUnreadable(odd.status)) {
    ++row.unreadable;
    const uint32_t scrubs = chunk.unreadable + 1;
    RETURN_IF_ERROR(catalog::SetUnreadable(txn, chunk.row, scrubs));
    spdlog::error("scrub: chunk {} could not be read, {} in a row: {}", chunk.chunk.digest.Hex(),
                  scrubs, text);
    if (scrubs < kUnreadableScrubs) return false;
    text = fmt::format("{} scrubs in a row could not read chunk {}: {}", scrubs,
                       chunk.chunk.digest.Hex(), text);
  } else {
    ++row.damaged_chunks;
    if (!chunk.damaged) spdlog::error("scrub: {}", text);
  }
  ASSIGN_OR_RETURN(flagged,
                   FlagChunk(txn, {chunk.project_id, chunk.chunk, text}, parts_.now()));
  return false;
}

}  // namespace ckptd
