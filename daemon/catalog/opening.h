// Opening a catalog's file so that what is read from it later is what was
// written.
#pragma once

#include <memory>
#include <string>

#include "daemon/catalog/sqlite.h"
#include "proto/status.h"

namespace ckptd::catalog {

// The writer's connection, in WAL mode, with an empty log; every page was read
// and has the right checksum. A file from before there were any is laid out
// anew, once. Creates the file if there is none; the schema stays as it is.
// DATA_LOSS/CATALOG_DAMAGED, FAILED_PRECONDITION/VERSION_TOO_NEW (untouched).
absl::StatusOr<std::unique_ptr<Connection>> OpenWhole(const std::string& path,
                                                      const std::string& base_vfs);

}  // namespace ckptd::catalog
