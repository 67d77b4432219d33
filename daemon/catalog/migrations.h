// The schema, as an ordered array of migrations. PRAGMA user_version counts
// those that a file has had.
#pragma once

#include <cstddef>

#include "daemon/catalog/sqlite.h"
#include "proto/status.h"

namespace ckptd::catalog {

// The schema version that this build reads and writes.
int SchemaVersion();

// Applies what `connection` lacks up to `version`, each migration in a
// transaction of its own. FAILED_PRECONDITION/VERSION_TOO_NEW, naming both
// versions, when the file has more than this build knows; then and on any other
// failure the file stays as it was before the failed step.
absl::Status Migrate(Connection& connection, int version = SchemaVersion());

}  // namespace ckptd::catalog
