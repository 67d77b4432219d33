// Makes a catalog out of its journal, or brings one up to it.
#pragma once

#include <memory>
#include <string>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/journal_reader.h"
#include "daemon/catalog/sqlite.h"
#include "proto/status.h"

namespace ckptd::catalog {

// Notes why the catalog is not to be trusted, although it may look whole: it is
// rebuilt by the next start.
std::string SuspectPath(const std::string& path);

struct Opened {
  std::unique_ptr<Connection> db;
  bool repaired = false;  // it was not as its journal said
};

// The writer's connection to a catalog that is whole (opening.h) and not behind
// its journal. Where the journal has one transaction more, as after a crash, it
// is applied; where the file is missing, damaged or an older copy, it is rebuilt
// and what was there moved aside, as PATH.damaged-TIME. Each is said in the log.
//
// The catalog may be ahead of the journal, or the journal of no use: then the
// caller begins it anew. FAILED_PRECONDITION/CATALOG_DAMAGED where the two do
// not belong together, DATA_LOSS/CATALOG_DAMAGED where neither is enough; both
// leave everything as it is.
absl::StatusOr<Opened> OpenOrRebuild(const std::string& path, const CatalogOptions& options,
                                     const JournalReader& journal);

}  // namespace ckptd::catalog
