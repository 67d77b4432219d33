// What a transaction changed, as bytes that can be applied to an older copy of
// the catalog: a changeset of SQLite's session extension, and the counters
// behind AUTOINCREMENT, which have no part in one. All tables but `position`.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "daemon/catalog/sqlite.h"
#include "proto/status.h"

struct sqlite3_session;

namespace ckptd::catalog {

// Records what is changed through a connection from Begin on. Used by the
// connection's thread; ends before the connection.
class Changes {
 public:
  static absl::StatusOr<std::unique_ptr<Changes>> Begin(Connection& db);
  ~Changes();

  // So far; empty where nothing differs.
  absl::StatusOr<std::string> Take();

 private:
  explicit Changes(Connection& db) : db_(db) {}
  Connection& db_;
  sqlite3_session* session_ = nullptr;
  std::string counters_;  // at the beginning
};

// In a transaction of the caller's, who rolls back on failure; foreign keys must
// be off, since what cascades is in `changes` too. DATA_LOSS/CATALOG_DAMAGED
// where the catalog is not as it was when they were recorded.
absl::Status ApplyChanges(Connection& db, std::string_view changes);

}  // namespace ckptd::catalog
