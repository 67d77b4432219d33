// Health, load and drain: what whoever runs the daemon asks of it.
#include <algorithm>

#include <fmt/format.h>

#include "daemon/catalog/projects.h"
#include "daemon/catalog/runs.h"
#include "daemon/chunks/layout.h"
#include "daemon/store/store.h"

namespace ckptd {
namespace {

// A client that works on an upload comes again sooner: with the next stream or
// the commit.
constexpr absl::Duration kActiveFor = absl::Seconds(1);

}  // namespace

Store::Health Store::GetHealth() {
  Health health;
  if (const absl::Duration stuck = janitor_->StuckFor(); stuck > absl::ZeroDuration()) {
    health.live = false;
    health.problems.push_back(fmt::format(
        "the janitor has not been heard of for {} longer than it should take: is the disk stuck?",
        absl::FormatDuration(absl::Trunc(stuck, absl::Seconds(1)))));
  }
  health.draining = draining_;
  if (health.draining) {
    health.problems.push_back("it is draining: it ends once what is under way has ended");
  }
  if (auto txn = catalog_->BeginRead(); !txn.ok()) {  // which reads
    health.problems.push_back(
        fmt::format("the catalog does not answer: {}", std::string(txn.status().message())));
  }
  const std::string& dir = options_.data_dir;
  if (absl::Status writable = fs_->CheckWritable(dir); !writable.ok()) {
    health.problems.push_back(std::string(writable.message()));
  }
  if (absl::StatusOr<Usage> usage = chunks_->GetUsage(); !usage.ok()) {
    health.problems.push_back(std::string(usage.status().message()));
  } else if (usage->free_bytes < options_.keep_free_bytes) {
    health.problems.push_back(
        fmt::format("{} bytes are free at {}, fewer than the {} that uploads "
                    "have to leave (keep-free)",
                    usage->free_bytes, dir, options_.keep_free_bytes));
  }
  health.ready = health.problems.empty();
  return health;
}

Store::Load Store::GetLoad() {
  Load load;
  std::shared_ptr<Upload> active;
  {
    absl::MutexLock lock(&uploads_mutex_);
    load.open_uploads = uploads_.size();
    for (const auto& [row, upload] : uploads_) {
      load.missing_bytes += upload->missing_bytes();
      if (upload.use_count() == 1 && upload->idle() > kActiveFor) continue;
      if (load.active_uploads++ == 0) active = upload;
    }
  }
  if (active == nullptr) return load;
  const catalog::UploadRow& row = active->row();
  std::string run = "a run";
  if (auto txn = catalog_->BeginRead(); txn.ok()) {
    auto found = catalog::FindRunById(**txn, row.run_id);
    if (found.ok() && *found) run = (*found)->name.ToString();
  }
  load.oldest_active = fmt::format("{}@{} rank {}, {} bytes of {} missing", run, row.step, row.rank,
                                   active->missing_bytes(), active->manifest().bytes());
  return load;
}

absl::StatusOr<uint64_t> Store::GetCatalogBytes() {
  const std::string path = Layout(options_.data_dir).Catalog();
  uint64_t bytes = 0;
  for (const char* suffix : {"", "-wal", "-shm"}) {
    absl::StatusOr<uint64_t> size = fs_->AllocatedBytes(path + suffix);
    if (absl::IsNotFound(size.status())) continue;  // there while somebody writes
    RETURN_IF_ERROR(size.status());
    bytes += *size;
  }
  return bytes;
}

absl::Status Store::CheckNotDraining() const {
  if (!draining_) return absl::OkStatus();
  return ckpt::MakeError(absl::StatusCode::kUnavailable, ckpt::reason::kDraining,
                         "ckptd is about to stop and takes nothing new; try again once it has been "
                         "started again");
}

}  // namespace ckptd
