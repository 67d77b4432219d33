#include "daemon/catalog/rebuild.h"

#include <algorithm>
#include <vector>

#include <absl/time/time.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/changes.h"
#include "daemon/catalog/migrations.h"
#include "daemon/catalog/opening.h"
#include "daemon/catalog/snapshot.h"

namespace ckptd::catalog {
namespace {

using absl::StatusCode;

// Files that SQLite takes to belong to the one beside them. They go first: one
// that is left would be applied to the next catalog.
constexpr const char* kCompanions[] = {"-wal", "-journal", "-shm"};

class Rebuilder {
 public:
  Rebuilder(const std::string& path, const CatalogOptions& options, const JournalReader& journal)
      : path_(path),
        options_(options),
        fs_(*options.fs),
        dir_(os::ParentDir(path)),
        journal_(journal) {}

  absl::StatusOr<Opened> Open() {
    ASSIGN_OR_RETURN(names_, fs_.List(dir_));
    const bool exists = Exists(path_);
    if (options_.rebuild) {
      return journal_.start() ? Rebuild("is to be rebuilt")
                              : absl::StatusOr<Opened>(Refuse("cannot be rebuilt"));
    }
    if (Exists(SuspectPath(path_)) && journal_.start()) {
      return Rebuild("was found damaged while it was in use");
    }
    if (!journal_.start()) {
      if (!exists && journal_.has_files()) return Refuse("is missing");
      Opened opened;
      ASSIGN_OR_RETURN(opened.db, OpenWhole(path_, options_.base_vfs));
      return opened;
    }
    if (!exists) return Rebuild("is missing");
    absl::StatusOr<std::unique_ptr<Connection>> db = OpenWhole(path_, options_.base_vfs);
    if (ckpt::HasReason(db.status(), ckpt::reason::kCatalogDamaged)) {
      return Rebuild(fmt::format("is damaged ({})", std::string(db.status().message())));
    }
    if (!db.ok()) return db.status();
    ASSIGN_OR_RETURN(const auto schema, (*db)->Integer("PRAGMA user_version"));
    if (schema.value_or(0) == 0) {
      db->reset();
      return Rebuild("is empty");
    }
    if (schema <= kLastSchemaWithoutPosition) return Strange("is from before it had a journal");
    const absl::StatusOr<Position> position = ReadPosition(**db);
    if (!position.ok()) {
      db->reset();
      return Rebuild(std::string(position.status().message()));
    }
    return Compare(*std::move(db), *position, static_cast<uint32_t>(*schema));
  }

 private:
  absl::StatusOr<Opened> Compare(std::unique_ptr<Connection> db, const Position& position,
                                 uint32_t schema) {
    const Position& end = journal_.end();
    if (position.catalog != end.catalog) return Strange("is of another catalog than the journal");
    const std::string behind =
        fmt::format("is at transaction {}, its journal at {}", position.sequence, end.sequence);
    if (position.sequence < journal_.lost_to()) return Refuse(behind);
    if (position == end) return Opened{std::move(db), /*repaired=*/false};
    if (position.sequence >= end.sequence) {
      spdlog::warn("catalog {}: its journal ends at transaction {} instead of {} and is begun anew",
                   path_, end.sequence, position.sequence);
      return Opened{std::move(db), /*repaired=*/true};
    }
    if (journal_.LeadsOnFrom(position)) {
      // The usual end of a crash: recorded, and not yet committed. More than one
      // is none: then the log beside the file is gone, or the file is a copy,
      // and what is in it may be of different times.
      if (position.sequence + 1 == end.sequence && schema == journal_.start()->schema) {
        const absl::Status applied = RollForward(*db, position);
        if (applied.ok()) return Opened{std::move(db), /*repaired=*/true};
        if (!ckpt::HasReason(applied, ckpt::reason::kCatalogDamaged)) return applied;
        db.reset();
        return Rebuild(std::string(applied.message()));
      }
    } else if (position.sequence >= journal_.start()->position.sequence) {
      return Strange(
          fmt::format("parted from its journal before transaction {}", position.sequence));
    }
    db.reset();
    return Rebuild(behind);
  }

  absl::Status RollForward(Connection& db, const Position& from) {
    spdlog::warn(
        "catalog {}: transaction {} was recorded, but not committed before the daemon "
        "ended; it is now",
        path_, journal_.end().sequence);
    RETURN_IF_ERROR(db.Script("PRAGMA foreign_keys = OFF"));
    RETURN_IF_ERROR(db.Run("BEGIN IMMEDIATE"));
    absl::Status status = Replay(db, from);
    if (status.ok()) status = db.Run("COMMIT");
    if (!status.ok()) (void)db.Script("ROLLBACK");  // the first error is the one to tell
    RETURN_IF_ERROR(status);
    return db.Script("PRAGMA foreign_keys = ON");
  }

  absl::Status Replay(Connection& db, const Position& from) {
    RETURN_IF_ERROR(journal_.ReadRecords(
        from, [&](const Position& after, std::string_view changes) -> absl::Status {
          const absl::Status applied = ApplyChanges(db, changes);
          return ckpt::Annotate(applied, fmt::format("Transaction {}", after.sequence));
        }));
    return WritePosition(db, journal_.end());
  }

  absl::StatusOr<Opened> Rebuild(const std::string& why) {
    const std::string& lost = journal_.lost_text();
    if (!lost.empty() && !options_.rebuild) return Refuse(why);
    spdlog::error("catalog {} {}: it is rebuilt from its journal, up to transaction {}", path_, why,
                  journal_.end().sequence);
    if (journal_.torn()) {
      spdlog::error(
          "the journal's last record was cut off, as when the power goes: should it have "
          "been damaged since, transaction {} is lost",
          journal_.end().sequence + 1);
    }
    if (!lost.empty()) {
      spdlog::error("catalog {}: transactions after {} are lost: {}", path_,
                    journal_.end().sequence, lost);
    }
    const std::string fresh = path_ + ".rebuilt";
    for (const char* suffix : {"", "-wal", "-journal", "-shm"}) {
      if (Exists(fresh + suffix)) RETURN_IF_ERROR(fs_.Remove(fresh + suffix));
    }
    RETURN_IF_ERROR(Fill(fresh));
    RETURN_IF_ERROR(MoveAside());
    RETURN_IF_ERROR(fs_.Rename(fresh, path_));
    if (Exists(SuspectPath(path_))) RETURN_IF_ERROR(fs_.Remove(SuspectPath(path_)));
    RETURN_IF_ERROR(fs_.SyncDir(dir_));
    Opened opened{.db = nullptr, .repaired = true};
    ASSIGN_OR_RETURN(opened.db, OpenWhole(path_, options_.base_vfs));
    spdlog::warn("catalog {}: rebuilt", path_);
    return opened;
  }

  absl::Status Fill(const std::string& fresh) {
    const auto schema = static_cast<int>(journal_.start()->schema);
    if (schema > SchemaVersion()) {
      return ckpt::MakeError(
          StatusCode::kFailedPrecondition, ckpt::reason::kVersionTooNew,
          fmt::format("The journal of the catalog {} has schema version {}, but this daemon knows "
                      "only up to {}: run the newer daemon that wrote it.",
                      path_, schema, SchemaVersion()));
    }
    ASSIGN_OR_RETURN(auto db,
                     Connection::Open(fresh, Connection::Mode::kWriter, options_.base_vfs));
    // Nothing is there to roll back to; the commit still syncs.
    RETURN_IF_ERROR(db->Script("PRAGMA journal_mode = OFF; PRAGMA foreign_keys = OFF"));
    RETURN_IF_ERROR(Migrate(*db, schema));
    RETURN_IF_ERROR(db->Run("BEGIN IMMEDIATE"));
    RowLoader loader(*db);
    RETURN_IF_ERROR(
        journal_.ReadSnapshot([&](std::string_view piece) { return loader.Load(piece); }));
    RETURN_IF_ERROR(Replay(*db, journal_.start()->position));
    return db->Run("COMMIT");
  }

  absl::Status MoveAside() {
    const std::string base =
        path_ + ".damaged-" +
        absl::FormatTime("%Y%m%dT%H%M%SZ", options_.clock->Now(), absl::UTCTimeZone());
    std::string aside = base;
    for (int i = 2; Exists(aside); ++i) aside = fmt::format("{}-{}", base, i);
    bool moved = false;
    for (const char* suffix : kCompanions) {
      const absl::Status status = fs_.Rename(path_ + suffix, aside + suffix);
      if (!status.ok() && !absl::IsNotFound(status)) return status;
      moved |= status.ok();
    }
    // Before the file itself: it may only ever be alone.
    if (moved) RETURN_IF_ERROR(fs_.SyncDir(dir_));
    const absl::Status status = fs_.Rename(path_, aside);
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    if (status.ok() || moved) spdlog::warn("catalog {}: what was there is now {}", path_, aside);
    return absl::OkStatus();
  }

  bool Exists(const std::string& path) const {
    return std::ranges::any_of(names_,
                               [&](const std::string& name) { return dir_ + "/" + name == path; });
  }

  absl::Status Strange(const std::string& what) const {
    return ckpt::MakeError(
        StatusCode::kFailedPrecondition, ckpt::reason::kCatalogDamaged,
        fmt::format("The catalog {} {}, and nothing was changed. Put the catalog back that belongs "
                    "to the packs; or move this one away, and it is rebuilt from the journal",
                    path_, what));
  }

  absl::Status Refuse(const std::string& why) const {
    std::string lost = "no snapshot in its journal is whole";
    if (journal_.start()) {
      lost = fmt::format(
          "its journal leads only up to transaction {}, and what came after{} would "
          "be lost: {}",
          journal_.end().sequence,
          journal_.lost_to() == 0 ? "" : fmt::format(" (up to {} at least)", journal_.lost_to()),
          journal_.lost_text());
    }
    return ckpt::MakeError(
        StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
        fmt::format("The catalog {} {}, and {}. Nothing was changed. Rebuild it from a backup: "
                    "ckptd --rebuild-catalog --from FILE; or, giving up what is lost, without one",
                    path_, why, lost));
  }

  static constexpr int64_t kLastSchemaWithoutPosition = 7;

  const std::string path_;
  const CatalogOptions& options_;
  os::FileSystem& fs_;
  const std::string dir_;
  const JournalReader& journal_;
  std::vector<std::string> names_;  // in the folder, before anything was changed
};

}  // namespace

std::string SuspectPath(const std::string& path) { return path + ".suspect"; }

absl::StatusOr<Opened> OpenOrRebuild(const std::string& path, const CatalogOptions& options,
                                     const JournalReader& journal) {
  return Rebuilder(path, options, journal).Open();
}

}  // namespace ckptd::catalog
