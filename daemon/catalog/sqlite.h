// RAII over sqlite3: connections with a cache of prepared statements, and
// statements that bind and read typed values. Nothing outside daemon/catalog
// includes this.
//
// A connection and its statements belong to one thread at a time. SQLite's
// codes become the statuses that catalog.h lists; what is a mistake of ours (a
// broken constraint, wrong SQL) becomes INTERNAL.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <absl/time/time.h>

#include "proto/digest.h"
#include "proto/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace ckptd::catalog {

// Bound as BLOB; a string is bound as TEXT.
struct Blob {
  std::string_view bytes;
};

class Connection;

// One execution of a prepared statement; goes back to its connection's cache
// when it ends. Times are stored as nanoseconds since the epoch.
class Statement {
 public:
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  // Steps to the next row. False at the end and after a failure: ask status().
  bool Next();
  const absl::Status& status() const { return status_; }
  // Steps to the end.
  absl::Status Run();
  // Ready to be executed again with other values.
  template <typename... Args>
  Statement& Rebind(const Args&... args) {
    Reset();
    int index = 0;
    (Bind(++index, args), ...);
    return *this;
  }

  // Columns of the current row, from 0. NULL reads as 0 or empty.
  bool IsNull(int column) const;
  int64_t Int(int column) const;
  uint64_t Uint(int column) const { return static_cast<uint64_t>(Int(column)); }
  uint32_t Uint32(int column) const { return static_cast<uint32_t>(Int(column)); }
  bool Bool(int column) const { return Int(column) != 0; }
  std::string Text(int column) const { return std::string(View(column)); }
  absl::Time Time(int column) const { return absl::FromUnixNanos(Int(column)); }
  std::optional<absl::Time> OptionalTime(int column) const;
  ckpt::Digest DigestAt(int column) const;  // all zeros where there is none
  // Bytes of a TEXT or BLOB, valid until the next step.
  std::string_view View(int column) const;

 private:
  friend class Connection;
  // A prepared statement in the cache.
  struct Slot {
    ~Slot();
    sqlite3_stmt* stmt = nullptr;
    bool in_use = false;
  };
  Statement(Connection* connection, Slot* slot, std::unique_ptr<Slot> own);

  void Reset();
  void BindInt(int index, int64_t value);
  void BindBytes(int index, std::string_view bytes, bool text);
  void BindNull(int index);

  template <std::integral T>
  void Bind(int index, T value) {
    BindInt(index, static_cast<int64_t>(value));
  }
  void Bind(int index, std::nullptr_t) { BindNull(index); }
  void Bind(int index, const char* text) { BindBytes(index, text, true); }
  void Bind(int index, const std::string& text) { BindBytes(index, text, true); }
  void Bind(int index, const Blob& blob) { BindBytes(index, blob.bytes, false); }
  void Bind(int index, const ckpt::Digest& digest) { BindBytes(index, digest.View(), false); }
  void Bind(int index, absl::Time time) { BindInt(index, absl::ToUnixNanos(time)); }
  template <typename T>
  void Bind(int index, const std::optional<T>& value) {
    value ? Bind(index, *value) : BindNull(index);
  }

  Connection* connection_;
  Slot* slot_;                 // nullptr: moved from
  std::unique_ptr<Slot> own_;  // when the cached one was in use
  absl::Status status_;
};

class Connection {
 public:
  enum class Mode { kWriter, kReader };
  // The writer creates the file if there is none, with room for checksums in
  // its pages (checksum_vfs.h). `base_vfs`: the VFS of SQLite's that the files
  // are on; empty: the platform's.
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const std::string& path, Mode mode,
                                                          const std::string& base_vfs = "");
  ~Connection();

  // `sql` is one statement; it is prepared once and kept. `args` are bound to
  // ?1, ?2, ...
  template <typename... Args>
  absl::StatusOr<Statement> Query(std::string_view sql, const Args&... args) {
    absl::StatusOr<Statement> statement = Prepare(sql);
    if (statement.ok()) statement->Rebind(args...);
    return statement;
  }
  template <typename... Args>
  absl::Status Run(std::string_view sql, const Args&... args) {
    absl::StatusOr<Statement> statement = Query(sql, args...);
    return statement.ok() ? statement->Run() : statement.status();
  }
  // The first column of the first row; nothing when there is no row or it is NULL.
  template <typename... Args>
  absl::StatusOr<std::optional<int64_t>> Integer(std::string_view sql, const Args&... args) {
    absl::StatusOr<Statement> statement = Query(sql, args...);
    if (!statement.ok()) return statement.status();
    std::optional<int64_t> value;
    while (statement->Next()) {
      if (!value && !statement->IsNull(0)) value = statement->Int(0);
    }
    if (!statement->status().ok()) return statement->status();
    return value;
  }

  // Whether the pages of the file carry checksums.
  bool guarded() const;
  // Whether no other connection of this process has the file open.
  bool only_user() const;
  // Reads every page; DATA_LOSS/CATALOG_DAMAGED names one whose checksum is
  // wrong. The write-ahead log must be empty, and nobody be writing.
  absl::Status CheckPages() const;

  // Several statements without values or results.
  absl::Status Script(const std::string& sql);

  int64_t last_insert_row() const;
  // Rows that the last INSERT, UPDATE or DELETE changed.
  int64_t changes() const;
  // Rows changed since the connection was opened.
  int64_t total_changes() const;

  // The texts of all statements prepared so far: what the tests explain.
  std::vector<std::string> PreparedTexts() const;

  // `handler` is called, on the thread that meets it, with every error that says
  // that the catalog is damaged.
  void OnDamage(std::function<void(const absl::Status&)> handler) {
    on_damage_ = std::move(handler);
  }

  // For what statements cannot do. The status of SQLite's last error.
  sqlite3* handle() const { return db_; }
  absl::Status Error() const;

 private:
  friend class Statement;
  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  Connection(std::string path, sqlite3* db) : path_(std::move(path)), db_(db) {}
  absl::StatusOr<Statement> Prepare(std::string_view sql);

  std::string path_;
  sqlite3* db_;
  std::function<void(const absl::Status&)> on_damage_;
  std::unordered_map<std::string, std::unique_ptr<Statement::Slot>, TextHash, std::equal_to<>>
      statements_;
};

}  // namespace ckptd::catalog
