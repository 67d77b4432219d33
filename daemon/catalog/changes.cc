#include "daemon/catalog/changes.h"

#include <cstring>
#include <limits>

#include <fmt/format.h>
#include <sqlite3.h>

#include "daemon/catalog/position.h"

namespace ckptd::catalog {
namespace {

// The counters come first: how many bytes, then for each its value, the length
// of its table's name, and the name.
absl::StatusOr<std::string> ReadCounters(Connection& db) {
  std::string out;
  ASSIGN_OR_RETURN(Statement rows, db.Query("SELECT name, seq FROM sqlite_sequence ORDER BY name"));
  while (rows.Next()) {
    const int64_t value = rows.Int(1);
    const std::string name = rows.Text(0);
    const auto length = static_cast<uint32_t>(name.size());
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
    out.append(reinterpret_cast<const char*>(&length), sizeof(length));
    out += name;
  }
  RETURN_IF_ERROR(rows.status());
  return out;
}

absl::Status DoNotFit(const std::string& why) {
  return ckpt::MakeError(
      absl::StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
      fmt::format("What the journal says was changed does not fit the catalog: {}.", why));
}

absl::Status SetCounters(Connection& db, std::string_view counters) {
  RETURN_IF_ERROR(db.Run("DELETE FROM sqlite_sequence"));
  while (!counters.empty()) {
    int64_t value = 0;
    uint32_t length = 0;
    if (counters.size() < sizeof(value) + sizeof(length)) return DoNotFit("its counters are cut");
    std::memcpy(&value, counters.data(), sizeof(value));
    std::memcpy(&length, counters.data() + sizeof(value), sizeof(length));
    counters.remove_prefix(sizeof(value) + sizeof(length));
    if (counters.size() < length) return DoNotFit("its counters are cut");
    RETURN_IF_ERROR(db.Run("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)",
                           std::string(counters.substr(0, length)), value));
    counters.remove_prefix(length);
  }
  return absl::OkStatus();
}

int IsOfTheCatalog(void*, const char* table) {
  return std::strcmp(table, kPositionTable) == 0 ? 0 : 1;
}

int OnConflict(void* context, int conflict, sqlite3_changeset_iter* change) {
  const char* table = "";
  int columns = 0, operation = 0, indirect = 0;
  sqlite3changeset_op(change, &table, &columns, &operation, &indirect);
  *static_cast<std::string*>(context) = fmt::format("{} of a row of {} met conflict {}",
                                                    operation == SQLITE_INSERT   ? "the insertion"
                                                    : operation == SQLITE_DELETE ? "the removal"
                                                                                 : "the change",
                                                    table, conflict);
  return SQLITE_CHANGESET_ABORT;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Changes>> Changes::Begin(Connection& db) {
  std::unique_ptr<Changes> changes(new Changes(db));
  ASSIGN_OR_RETURN(changes->counters_, ReadCounters(db));
  int code = sqlite3session_create(db.handle(), "main", &changes->session_);
  if (code == SQLITE_OK) {
    sqlite3session_table_filter(changes->session_, IsOfTheCatalog, nullptr);
    code = sqlite3session_attach(changes->session_, nullptr);
  }
  if (code != SQLITE_OK) return db.Error();
  return changes;
}

Changes::~Changes() {
  if (session_ != nullptr) sqlite3session_delete(session_);
}

absl::StatusOr<std::string> Changes::Take() {
  int size = 0;
  void* bytes = nullptr;
  if (const int code = sqlite3session_changeset(session_, &size, &bytes); code != SQLITE_OK) {
    return ckpt::MakeError(absl::StatusCode::kUnavailable, ckpt::reason::kIoError,
                           fmt::format("What a transaction changed could not be collected for "
                                       "the catalog's journal (SQLite code {}).",
                                       code));
  }
  std::string changeset(static_cast<const char*>(bytes), static_cast<size_t>(size));
  sqlite3_free(bytes);
  ASSIGN_OR_RETURN(const std::string counters, ReadCounters(db_));
  if (changeset.empty() && counters == counters_) return changeset;
  const auto length = static_cast<uint32_t>(counters.size());
  std::string out(reinterpret_cast<const char*>(&length), sizeof(length));
  out += counters;
  out += changeset;
  return out;
}

absl::Status ApplyChanges(Connection& db, std::string_view changes) {
  uint32_t length = 0;
  if (changes.size() < sizeof(length)) return DoNotFit("it is cut");
  std::memcpy(&length, changes.data(), sizeof(length));
  changes.remove_prefix(sizeof(length));
  if (changes.size() < length) return DoNotFit("it is cut");
  const std::string_view counters = changes.substr(0, length);
  changes.remove_prefix(length);
  if (changes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    return DoNotFit("it is too large");
  }
  if (!changes.empty()) {
    std::string conflict;
    const int code =
        sqlite3changeset_apply(db.handle(), static_cast<int>(changes.size()),
                               const_cast<char*>(changes.data()), nullptr, OnConflict, &conflict);
    if (!conflict.empty()) return DoNotFit(conflict);
    if (code != SQLITE_OK) return db.Error();
  }
  // Last: inserted rows move them.
  return SetCounters(db, counters);
}

}  // namespace ckptd::catalog
