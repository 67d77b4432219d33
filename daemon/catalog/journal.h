// The journal of a catalog: what it can be rebuilt from when its file is gone.
// It lies in a folder of its own beside the packs: a snapshot of the catalog,
// and the changes of each transaction since.
//
// A transaction's record is durable before SQLite commits it: the journal is
// never behind, and ahead by at most one, which the next start applies. Where
// something fails between the two, the record of the next transaction supersedes
// this one.
//
// A new generation begins when the records outgrow the snapshot: at first its
// records, then, beside the transactions that follow, its snapshot; once that
// is durable, the files before it go.
//
// What is said to need the writer's lock is called by who holds the catalog's
// write transaction, or keeps others from beginning one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/changes.h"
#include "daemon/catalog/journal_reader.h"
#include "daemon/catalog/journal_writer.h"
#include "daemon/catalog/position.h"
#include "proto/status.h"

namespace ckptd::catalog {

class Journal {
 public:
  // `db` is at the newest schema, `found` is what its journal held when it was
  // opened. Goes on with that, or begins a generation where it does not end
  // where the catalog is; soon, where the catalog was `repaired` (rebuild.h). A
  // failure to write is logged and made up for later.
  static absl::StatusOr<std::unique_ptr<Journal>> Start(const CatalogOptions& options,
                                                        const JournalReader& found, bool repaired,
                                                        Connection& db);

  // With the writer's lock, before a transaction begins: there is a file to
  // append to. RESOURCE_EXHAUSTED/NO_SPACE, UNAVAILABLE/IO_ERROR.
  absl::Status GetReady();
  // In the transaction, after its last change: it is recorded, durably.
  absl::Status Record(Connection& db, Changes& changes);
  // Whether the transaction was committed after that.
  void Ended(bool committed);
  // Whether nothing is left of what failed last: of a Record, or of one that has
  // not Ended in a commit.
  bool certain() const { return writer_.ready(); }

  // Whether a new generation should begin. Thread-safe.
  bool IsDue() const;
  struct Generation {
    uint64_t number = 0;
    Head head;
  };
  // With the writer's lock.
  absl::StatusOr<Generation> Begin();
  // `snapshot` reads the catalog as it was at Begin. One thread at a time.
  absl::Status Finish(const Generation& generation, Connection& snapshot);

 private:
  Journal(const CatalogOptions& options, uint64_t last_number)
      : writer_(options.fs, options.journal_dir, last_number),
        least_bytes_(options.journal_bytes) {}

  JournalWriter writer_;
  const uint64_t least_bytes_;
  Position position_;              // of the catalog
  Position recorded_;              // of the transaction under way
  bool has_record_ = false;        // that has not ended
  std::atomic<bool> due_ = false;  // whatever the sizes
  bool unfinished_ = false;        // the newest file has no snapshot yet
  std::atomic<uint64_t> snapshot_bytes_ = 0;
};

}  // namespace ckptd::catalog
