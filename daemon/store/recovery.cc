#include "daemon/store/recovery.h"

#include <algorithm>
#include <set>
#include <unordered_set>

#include <spdlog/spdlog.h>

#include "daemon/catalog/chunks.h"
#include "daemon/catalog/scrub.h"
#include "daemon/catalog/uploads.h"
#include "daemon/chunks/layout.h"
#include "daemon/chunks/pack_store.h"
#include "daemon/chunks/set_aside.h"
#include "daemon/metrics/metrics.h"
#include "daemon/store/damage.h"
#include "daemon/store/errors.h"
#include "daemon/store/scrubbing.h"

namespace ckptd {
namespace {

// A pack has its row before its file, and its file goes before its row. So a
// file without a row is one whose removal a power cut undid; unless the catalog
// never gave its number: then it is not the catalog that wrote these packs, and
// to remove them would be to lose all that they hold.
absl::Status RemoveUnknownPacks(catalog::Catalog& catalog, ChunkStore& chunks) {
  ASSIGN_OR_RETURN(auto txn, catalog.BeginRead());
  ASSIGN_OR_RETURN(const PackId newest, catalog::NewestPack(*txn));
  ASSIGN_OR_RETURN(std::vector<PackId> known, catalog::ListPacks(*txn));
  std::set<PackId> rows(known.begin(), known.end());
  ASSIGN_OR_RETURN(std::vector<PackId> files, chunks.ListPacks());
  const auto strange = std::ranges::count_if(files, [&](PackId id) { return id > newest; });
  if (strange > 0) return PacksOfAnotherCatalog(strange, newest);
  for (PackId id : files) {
    if (rows.contains(id)) continue;
    spdlog::warn("recovery: pack {:016x} is not in the catalog and is removed", id);
    RETURN_IF_ERROR(chunks.RemovePack(id));
  }
  return absl::OkStatus();
}

// What of an interrupted upload's pack is whole becomes the upload's, so that
// its client sends only the rest.
absl::Status RecoverOpenPack(catalog::Catalog& catalog, ChunkStore& chunks,
                             const catalog::OpenPack& open) {
  absl::StatusOr<RecoveredPack> pack = chunks.RecoverPack(open.id);
  if (!pack.ok() && !absl::IsNotFound(pack.status())) return pack.status();
  ASSIGN_OR_RETURN(auto txn, catalog.BeginWrite());
  if (pack.ok()) {
    std::vector<StoredChunk> wanted;
    if (open.shard_row != 0) {
      ASSIGN_OR_RETURN(auto row, catalog::FindUploadByRow(*txn, open.shard_row));
      if (row && !row->durable) {
        const auto manifest = catalog::GetUploadManifest(*txn, open.shard_row);
        // One that is damaged keeps nothing for its upload: its client sends all anew.
        if (!manifest.ok() && !absl::IsDataLoss(manifest.status())) return manifest.status();
        std::unordered_set<ckpt::Digest> digests;
        if (manifest.ok()) {
          for (const ckpt::Chunk& chunk : manifest->chunks) digests.insert(chunk.digest);
        }
        for (const StoredChunk& chunk : pack->chunks) {
          if (digests.contains(chunk.digest)) wanted.push_back(chunk);
        }
        RETURN_IF_ERROR(catalog::InsertChunks(*txn, row->project_id, row->shard_row, wanted));
      }
    }
    spdlog::warn("recovery: unfinished pack {:016x}: {} chunks kept for their upload, {} bytes of a "
                 "torn end cut off", open.id, wanted.size(), pack->cut_bytes);
  } else {
    spdlog::warn("recovery: unfinished pack {:016x} was never written", open.id);
  }
  RETURN_IF_ERROR(catalog::SealPack(*txn, open.id));
  return txn->Commit();
}

// As a pass of the scrub, but at full speed, and before anybody can push.
absl::Status CompareWithPacks(catalog::Catalog& catalog, ChunkStore& chunks, os::Clock* clock) {
  {
    ASSIGN_OR_RETURN(auto txn, catalog.BeginWrite());
    ASSIGN_OR_RETURN(catalog::ScrubRow row, catalog::NewScrub(*txn, clock->Now()));
    row.asked = true;
    RETURN_IF_ERROR(catalog::SetScrub(*txn, row));
    RETURN_IF_ERROR(txn->Commit());
  }
  spdlog::warn("all that the catalog takes to be in the packs is read now");
  Metrics nobody_looks;
  Scrubbing::Parts parts;
  parts.catalog = &catalog;
  parts.chunks = &chunks;
  parts.metrics = &nobody_looks;
  parts.now = [clock] { return clock->Now(); };
  parts.judge = [](int64_t) {};  // the next start judges every run
  parts.run_low = [](const std::function<void()>& check) { check(); };
  parts.go_on = [](uint64_t) { return true; };
  return Scrubbing(std::move(parts)).Run();
}

}  // namespace

absl::Status Recover(catalog::Catalog& catalog, ChunkStore& chunks, absl::Time now) {
  RETURN_IF_ERROR(RemoveUnknownPacks(catalog, chunks));
  std::vector<catalog::OpenPack> open;
  {
    ASSIGN_OR_RETURN(auto txn, catalog.BeginRead());
    ASSIGN_OR_RETURN(open, catalog::ListOpenPacks(*txn));
  }
  for (const catalog::OpenPack& pack : open) RETURN_IF_ERROR(RecoverOpenPack(catalog, chunks, pack));
  if (open.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(auto txn, catalog.BeginWrite());
  RETURN_IF_ERROR(HealIntact(*txn, "what was damaged was pushed again", now).status());
  return txn->Commit();
}

absl::Status RebuildCatalog(const std::string& data_dir, const std::string& backup,
                            os::FileSystem* fs, os::Clock* clock) {
  const Layout layout(data_dir);
  ASSIGN_OR_RETURN(const auto lock, ClaimDataDir(fs, layout));
  catalog::CatalogOptions options;
  options.journal_dir = layout.Journal();
  options.fs = fs;
  options.clock = clock;
  options.rebuild = true;
  options.backup = backup;
  ASSIGN_OR_RETURN(const auto catalog, catalog::Catalog::Open(layout.Catalog(), options));
  RETURN_IF_ERROR(catalog->Check());
  PackId newest = 0;
  {
    ASSIGN_OR_RETURN(auto txn, catalog->BeginRead());
    ASSIGN_OR_RETURN(newest, catalog::NewestPack(*txn));
  }
  ASSIGN_OR_RETURN(const uint64_t unknown, SetAsideNewerPacks(fs, layout, newest, clock->Now()));
  if (!catalog->gave_up() && unknown == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto chunks, OpenPackStore(fs, layout.dir()));
  return CompareWithPacks(*catalog, *chunks, clock);
}

}  // namespace ckptd
