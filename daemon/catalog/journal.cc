#include "daemon/catalog/journal.h"

#include <algorithm>

#include <spdlog/spdlog.h>

#include "daemon/catalog/migrations.h"
#include "daemon/catalog/snapshot_file.h"

namespace ckptd::catalog {

absl::StatusOr<std::unique_ptr<Journal>> Journal::Start(const CatalogOptions& options,
                                                        const JournalReader& found, bool repaired,
                                                        Connection& db) {
  std::unique_ptr<Journal> journal(new Journal(options, found.last_number()));
  ASSIGN_OR_RETURN(journal->position_, ReadPosition(db));
  const bool fits = found.start() && found.end() == journal->position_ &&
                    found.lost_text().empty() && options.backup.empty() &&
                    static_cast<int>(found.start()->schema) == SchemaVersion();
  if (fits) {
    journal->snapshot_bytes_ = found.snapshot_bytes();
    // After anything that was not as it should be: what was read may be only in
    // the page cache, since a sync failed.
    journal->due_ = repaired || found.damaged();
    if (const auto tail = found.tail()) {
      RETURN_IF_ERROR(journal->writer_.Continue(tail->number, tail->bytes, found.record_bytes()));
    }
    return journal;
  }
  if (found.has_files()) spdlog::warn("{} is begun anew", options.journal_dir);
  const auto begin = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const Generation generation, journal->Begin());
    return journal->Finish(generation, db);
  };
  if (const absl::Status status = begin(); !status.ok()) {
    spdlog::error("the catalog has no journal until this is over: {}",
                  std::string(status.message()));
    journal->due_ = true;
  }
  return journal;
}

absl::Status Journal::GetReady() {
  if (writer_.ready()) return absl::OkStatus();
  return writer_.Begin({static_cast<uint32_t>(SchemaVersion()), position_});
}

absl::Status Journal::Record(Connection& db, Changes& changes) {
  ASSIGN_OR_RETURN(const std::string bytes, changes.Take());
  if (bytes.empty()) return absl::OkStatus();
  recorded_ = writer_.Prepare(position_, bytes);
  RETURN_IF_ERROR(WritePosition(db, recorded_));
  RETURN_IF_ERROR(writer_.Append());
  has_record_ = true;
  return absl::OkStatus();
}

void Journal::Ended(bool committed) {
  if (!has_record_) return;
  has_record_ = false;
  if (committed) {
    position_ = recorded_;
  } else {
    writer_.TakeBack();
  }
}

bool Journal::IsDue() const {
  return due_ || writer_.since_snapshot() > std::max(least_bytes_, 2 * snapshot_bytes_.load());
}

absl::StatusOr<Journal::Generation> Journal::Begin() {
  Generation generation;
  generation.head = {static_cast<uint32_t>(SchemaVersion()), position_};
  // A file without its snapshot gets it now, though it has records by now.
  if (!unfinished_ || !writer_.ready()) RETURN_IF_ERROR(writer_.Begin(generation.head));
  unfinished_ = true;
  generation.number = writer_.number();
  return generation;
}

absl::Status Journal::Finish(const Generation& generation, Connection& snapshot) {
  const absl::StatusOr<uint64_t> bytes =
      writer_.WriteSnapshot(generation.number, [&](const ByteSink& sink) {
        return WriteSnapshotFile(snapshot, generation.head, sink);
      });
  // One that failed and could not be removed stays in the way.
  unfinished_ = !bytes.ok() && !absl::IsAlreadyExists(bytes.status());
  if (!bytes.ok()) return bytes.status();
  snapshot_bytes_ = *bytes;
  due_ = false;
  return writer_.RemoveBefore(generation.number);
}

}  // namespace ckptd::catalog
