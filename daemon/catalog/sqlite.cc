#include "daemon/catalog/sqlite.h"

#include <cerrno>
#include <utility>

#include <sqlite3.h>

#include "daemon/catalog/checksum_vfs.h"
#include "daemon/catalog/page_sum.h"

namespace ckptd::catalog {

using absl::StatusCode;
using ckpt::MakeError;

namespace {

constexpr int kBusyTimeoutMs = 10'000;

absl::Status Damaged(const std::string& path, const std::string& what) {
  return MakeError(StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
                   fmt::format("The catalog {} is damaged: {}. Start the daemon again, which "
                               "repairs it.",
                               path, what));
}

absl::Status ErrorOf(sqlite3* db, const std::string& path) {
  const int code = sqlite3_extended_errcode(db);
  const std::string text = fmt::format("{} (SQLite code {})", sqlite3_errmsg(db), code);
  switch (code & 0xff) {
    case SQLITE_FULL:
      return MakeError(
          StatusCode::kResourceExhausted, ckpt::reason::kNoSpace,
          fmt::format("The disk is full: the catalog {} cannot grow. Free some space.", path));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Damaged(path, text);
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return MakeError(StatusCode::kFailedPrecondition, ckpt::reason::kReadOnly,
                       fmt::format("The catalog {} cannot be written: {}. Give the daemon's user "
                                   "the right to write it.",
                                   path, text));
    case SQLITE_CANTOPEN:
      if (const int error = sqlite3_system_errno(db); error == EACCES || error == EROFS) {
        return MakeError(StatusCode::kFailedPrecondition, ckpt::reason::kReadOnly,
                         fmt::format("The catalog {} cannot be opened for writing: {}. Give the "
                                     "daemon's user the right to write its folder.",
                                     path, text));
      }
      [[fallthrough]];
    case SQLITE_IOERR:
      if (code == SQLITE_IOERR_DATA || code == SQLITE_IOERR_CORRUPTFS) return Damaged(path, text);
      [[fallthrough]];
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      return MakeError(StatusCode::kUnavailable, ckpt::reason::kIoError,
                       fmt::format("The catalog {} cannot be read or written: {}.", path, text));
    default:
      return MakeError(StatusCode::kInternal, ckpt::reason::kInternal,
                       fmt::format("The catalog {} refused a statement: {}.", path, text));
  }
}

}  // namespace

Statement::Slot::~Slot() { sqlite3_finalize(stmt); }

Statement::Statement(Connection* connection, Slot* slot, std::unique_ptr<Slot> own)
    : connection_(connection), slot_(slot), own_(std::move(own)) {}

Statement::Statement(Statement&& other) noexcept
    : connection_(other.connection_),
      slot_(std::exchange(other.slot_, nullptr)),
      own_(std::move(other.own_)),
      status_(std::move(other.status_)) {}

Statement::~Statement() {
  if (slot_ == nullptr) return;
  sqlite3_reset(slot_->stmt);
  sqlite3_clear_bindings(slot_->stmt);
  slot_->in_use = false;
}

bool Statement::Next() {
  if (!status_.ok()) return false;
  const int code = sqlite3_step(slot_->stmt);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) status_ = connection_->Error();
  return false;
}

absl::Status Statement::Run() {
  while (Next()) {
  }
  return status_;
}

void Statement::Reset() {
  sqlite3_reset(slot_->stmt);
  status_ = absl::OkStatus();
}

void Statement::BindInt(int index, int64_t value) {
  if (sqlite3_bind_int64(slot_->stmt, index, value) != SQLITE_OK) status_ = connection_->Error();
}

void Statement::BindBytes(int index, std::string_view bytes, bool text) {
  // A null pointer would be bound as NULL.
  const char* data = bytes.data() == nullptr ? "" : bytes.data();
  const int code =
      text ? sqlite3_bind_text64(slot_->stmt, index, data, bytes.size(), SQLITE_TRANSIENT,
                                 SQLITE_UTF8)
           : sqlite3_bind_blob64(slot_->stmt, index, data, bytes.size(), SQLITE_TRANSIENT);
  if (code != SQLITE_OK) status_ = connection_->Error();
}

void Statement::BindNull(int index) {
  if (sqlite3_bind_null(slot_->stmt, index) != SQLITE_OK) status_ = connection_->Error();
}

bool Statement::IsNull(int column) const {
  return sqlite3_column_type(slot_->stmt, column) == SQLITE_NULL;
}

int64_t Statement::Int(int column) const { return sqlite3_column_int64(slot_->stmt, column); }

std::optional<absl::Time> Statement::OptionalTime(int column) const {
  if (IsNull(column)) return std::nullopt;
  return Time(column);
}

ckpt::Digest Statement::DigestAt(int column) const {
  return ckpt::Digest::FromBytes(View(column)).value_or(ckpt::Digest{});
}

std::string_view Statement::View(int column) const {
  const void* data = sqlite3_column_blob(slot_->stmt, column);
  if (data == nullptr) return {};
  return {static_cast<const char*>(data),
          static_cast<size_t>(sqlite3_column_bytes(slot_->stmt, column))};
}

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const std::string& path, Mode mode,
                                                             const std::string& base_vfs) {
  ASSIGN_OR_RETURN(const std::string vfs, ChecksumVfs(base_vfs));
  // Our own locking is enough: no connection is used by two threads at once.
  const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_READWRITE |
                    (mode == Mode::kWriter ? SQLITE_OPEN_CREATE : 0);
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &db, flags, vfs.c_str());
  if (db == nullptr) {
    return MakeError(StatusCode::kResourceExhausted, ckpt::reason::kInternal,
                     fmt::format("There is no memory to open the catalog {}.", path));
  }
  std::unique_ptr<Connection> connection(new Connection(path, db));
  if (code != SQLITE_OK) return connection->Error();
  // SQLite opens a file without write permission read-only and says nothing.
  if (sqlite3_db_readonly(db, "main") == 1) {
    return MakeError(StatusCode::kFailedPrecondition, ckpt::reason::kReadOnly,
                     fmt::format("The catalog {} is read-only. Give the daemon's user the right to "
                                 "write it.",
                                 path));
  }
  sqlite3_busy_timeout(db, kBusyTimeoutMs);
  // Of a new file; of an older one when VACUUM lays it out anew.
  int reserved = kPageSumBytes;
  sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
  // Per connection. FULL: an acknowledged commit survives a power cut.
  RETURN_IF_ERROR(connection->Script(R"sql(
    PRAGMA foreign_keys = ON;
    PRAGMA synchronous = FULL;
    PRAGMA temp_store = MEMORY;
    PRAGMA trusted_schema = OFF;
  )sql"));
  RETURN_IF_ERROR(connection->Script(mode == Mode::kWriter
                                         ? "PRAGMA cache_size = -65536;"
                                         : "PRAGMA cache_size = -8192; PRAGMA query_only = ON;"));
  return connection;
}

Connection::~Connection() {
  statements_.clear();
  sqlite3_close(db_);
}

absl::StatusOr<Statement> Connection::Prepare(std::string_view sql) {
  const auto found = statements_.find(sql);
  if (found != statements_.end() && !found->second->in_use) {
    found->second->in_use = true;
    return Statement(this, found->second.get(), nullptr);
  }
  auto slot = std::make_unique<Statement::Slot>();
  if (sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                         &slot->stmt, nullptr) != SQLITE_OK) {
    return Error();
  }
  slot->in_use = true;
  Statement::Slot* raw = slot.get();
  if (found != statements_.end()) return Statement(this, raw, std::move(slot));
  statements_.emplace(std::string(sql), std::move(slot));
  return Statement(this, raw, nullptr);
}

absl::Status Connection::Script(const std::string& sql) {
  if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return Error();
  return absl::OkStatus();
}

bool Connection::guarded() const { return IsGuarded(db_); }
bool Connection::only_user() const { return IsOnlyUser(db_); }

absl::Status Connection::CheckPages() const {
  ASSIGN_OR_RETURN(const uint64_t page, FindBadPage(db_));
  if (page == 0) return absl::OkStatus();
  return Damaged(path_, fmt::format("page {} is not what was written", page));
}

int64_t Connection::last_insert_row() const { return sqlite3_last_insert_rowid(db_); }
int64_t Connection::changes() const { return sqlite3_changes64(db_); }
int64_t Connection::total_changes() const { return sqlite3_total_changes64(db_); }

std::vector<std::string> Connection::PreparedTexts() const {
  std::vector<std::string> texts;
  for (const auto& [text, slot] : statements_) texts.push_back(text);
  return texts;
}

absl::Status Connection::Error() const {
  absl::Status status = ErrorOf(db_, path_);
  if (on_damage_ && ckpt::HasReason(status, ckpt::reason::kCatalogDamaged)) on_damage_(status);
  return status;
}

}  // namespace ckptd::catalog
