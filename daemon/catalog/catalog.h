// The catalog: metadata in SQLite (WAL, synchronous=FULL), one writer, readers
// beside it. The only folder with sqlite3_* calls and with SQL; queries live by
// subject in runs.h, checkpoints.h, chunks.h, damage.h, scrub.h, uploads.h,
// resumes.h, events.h, answers.h, tokens.h.
//
// Thread-safe. Transactions are not: each belongs to one thread. Errors:
// UNAVAILABLE/IO_ERROR, RESOURCE_EXHAUSTED/NO_SPACE (disk full),
// DATA_LOSS/CATALOG_DAMAGED (a checksum that is wrong, SQLITE_CORRUPT,
// SQLITE_NOTADB),
// FAILED_PRECONDITION/VERSION_TOO_NEW, FAILED_PRECONDITION/READ_ONLY.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "daemon/os/clock.h"
#include "daemon/os/file_system.h"
#include "proto/status.h"

namespace ckptd::catalog {

class Connection;  // sqlite.h

// A snapshot to read from. Ends with its destruction.
class ReadTxn {
 public:
  virtual ~ReadTxn();
  Connection& connection() { return *connection_; }

 protected:
  friend class Catalog;
  class Impl;
  std::unique_ptr<Impl> impl_;
  Connection* connection_ = nullptr;
};

// Reads its own writes. Rolled back unless Commit returned OK.
class WriteTxn : public ReadTxn {
 public:
  ~WriteTxn() override;
  // Durable when OK. When it fails nothing was changed, and nothing will be found
  // changed after a crash either: until that is certain transactions cannot begin.
  absl::Status Commit();
};

struct CatalogOptions {
  // The VFS of SQLite's that the files are on; empty: the platform's.
  std::string base_vfs;
  // Where the journal lies (journal.h), and what it is written with; both
  // outlive the catalog. Without a file system there is none: the catalog is
  // opened as it is, and what is changed then, no journal knows.
  std::string journal_dir;
  os::FileSystem* fs = nullptr;
  os::Clock* clock = nullptr;
  // A new snapshot is made once the records since take so many bytes, and twice
  // the last one's.
  uint64_t journal_bytes = 64 << 20;
  // To rebuild the catalog whatever is there, also where the journal is known to
  // miss transactions, and from the snapshot in the file `backup` (see Backup)
  // where one is given.
  bool rebuild = false;
  std::string backup;
  // Told once that the catalog was found damaged while in use, from any thread:
  // close it soon, and open it again, which rebuilds it.
  std::function<void()> on_damage;
};

class Catalog {
 public:
  // Creates the file and migrates an older schema; refuses a newer one, naming
  // both versions. Reads the whole file, so that no damage is met later. With a
  // journal it is rebuilt where it is missing or damaged (rebuild.h). `path`:
  // the database file.
  static absl::StatusOr<std::unique_ptr<Catalog>> Open(const std::string& path,
                                                       const CatalogOptions& options = {});
  ~Catalog();

  absl::StatusOr<std::unique_ptr<ReadTxn>> BeginRead();
  // Waits for the writer before to end.
  absl::StatusOr<std::unique_ptr<WriteTxn>> BeginWrite();

  // Begins a new generation of the journal when it is time, beside readers and
  // writers. To be called now and then, by one thread.
  absl::Status KeepJournal();

  // The catalog as it is now, beside readers and writers, as the bytes of a file
  // that it can be rebuilt from. In one read transaction, which lasts as long as
  // `sink` takes: until then the log beside the file only grows. The number of its
  // last transaction.
  absl::StatusOr<uint64_t> Backup(
      const std::function<absl::Status(std::span<const std::byte>)>& sink);

  // Whether it was rebuilt without transactions that its journal has lost: packs
  // may have been written and space given back since, of which it knows nothing.
  bool gave_up() const;

  // PRAGMA integrity_check and foreign_key_check; OK or DATA_LOSS.
  absl::Status Check();

 private:
  Catalog();
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ckptd::catalog
