// A backup of the catalog, beside everything else.
//
// It is what one read transaction sees. Those take nothing from the writer, so
// that no push waits, and none of what is committed meanwhile is in it. But as long
// as one is open SQLite cannot reuse the log beside the catalog, which grows with
// each commit: so there is one backup at a time, and whoever takes nothing of it
// for a while is cut off (daemon/rpc/byte_streams.h).
#include <spdlog/spdlog.h>

#include "daemon/store/errors.h"
#include "daemon/store/store.h"
#include "proto/digest.h"

namespace ckptd {

absl::StatusOr<ckpt::CatalogBackup> Store::BackUpCatalog(const ByteSink& sink) {
  if (backing_up_.exchange(true)) return BackupUnderWay();
  absl::StatusOr<ckpt::CatalogBackup> backup = StreamCatalog(sink);
  backing_up_ = false;
  return backup;
}

absl::StatusOr<ckpt::CatalogBackup> Store::StreamCatalog(const ByteSink& sink) {
  ckpt::CatalogBackup backup;
  backup.taken_at = clock_->Now();
  ckpt::Hasher hasher;
  ASSIGN_OR_RETURN(backup.transaction,
                   catalog_->Backup([&](std::span<const std::byte> part) -> absl::Status {
                     RETURN_IF_ERROR(sink(part));
                     hasher.Add(part);
                     backup.bytes += part.size();
                     return absl::OkStatus();
                   }));
  backup.digest = hasher.Get();
  spdlog::info("catalog backed up: {} bytes, up to transaction {}", backup.bytes,
               backup.transaction);
  return backup;
}

}  // namespace ckptd
