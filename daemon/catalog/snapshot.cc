#include "daemon/catalog/snapshot.h"

#include <cstring>
#include <optional>
#include <vector>

#include <fmt/format.h>
#include <sqlite3.h>

#include "daemon/catalog/position.h"

namespace ckptd::catalog {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

struct Finalize {
  void operator()(sqlite3_stmt* stmt) const { sqlite3_finalize(stmt); }
};
using Prepared = std::unique_ptr<sqlite3_stmt, Finalize>;

absl::StatusOr<Prepared> Prepare(Connection& db, const std::string& sql) {
  sqlite3_stmt* stmt = nullptr;
  const int code = sqlite3_prepare_v2(db.handle(), sql.c_str(), -1, &stmt, nullptr);
  Prepared prepared(stmt);
  if (code != SQLITE_OK) return db.Error();
  return prepared;
}

template <typename T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void PutBytes(std::string& out, std::string_view bytes) {
  Put(out, static_cast<uint32_t>(bytes.size()));
  out += bytes;
}

void PutValue(std::string& out, sqlite3_stmt* row, int column) {
  const auto bytes = [&](const void* data) {
    const auto size = static_cast<size_t>(sqlite3_column_bytes(row, column));
    PutBytes(out, {size == 0 ? "" : static_cast<const char*>(data), size});
  };
  switch (sqlite3_column_type(row, column)) {
    case SQLITE_INTEGER:
      out += 'i';
      return Put(out, static_cast<int64_t>(sqlite3_column_int64(row, column)));
    case SQLITE_FLOAT:
      out += 'f';
      return Put(out, sqlite3_column_double(row, column));
    case SQLITE_TEXT:
      out += 't';
      return bytes(sqlite3_column_text(row, column));
    case SQLITE_BLOB:
      out += 'b';
      return bytes(sqlite3_column_blob(row, column));
    default:
      out += 'n';
  }
}

std::string Quoted(std::string_view name) { return fmt::format("\"{}\"", name); }

std::string Joined(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + Quoted(name);
  return list;
}

absl::Status NoPiece() {
  return ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
                         "A piece of the catalog's snapshot does not hold what it should.");
}

// Reads from the front of bytes that may be anything.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool done() const { return rest_.empty(); }
  template <typename T>
  bool Take(T& value) {
    if (rest_.size() < sizeof(value)) return false;
    std::memcpy(&value, rest_.data(), sizeof(value));
    rest_.remove_prefix(sizeof(value));
    return true;
  }
  bool TakeBytes(std::string_view& bytes) {
    uint32_t size = 0;
    if (!Take(size) || rest_.size() < size) return false;
    bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

 private:
  std::string_view rest_;
};

}  // namespace

absl::Status WriteRows(Connection& db, const std::function<absl::Status(std::string_view)>& sink) {
  std::vector<std::string> tables;
  {
    ASSIGN_OR_RETURN(Statement names,
                     db.Query("SELECT name FROM sqlite_schema WHERE type = 'table' "
                              "AND (name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
                              "OR name = 'sqlite_sequence') AND name <> ?1 "
                              "ORDER BY name = 'sqlite_sequence', rowid",
                              kPositionTable));
    while (names.Next()) tables.push_back(names.Text(0));
    RETURN_IF_ERROR(names.status());
  }
  std::string piece;
  for (const std::string& table : tables) {
    std::vector<std::string> columns;
    {
      ASSIGN_OR_RETURN(Statement names,
                       db.Query("SELECT name FROM pragma_table_info(?1) ORDER BY cid", table));
      while (names.Next()) columns.push_back(names.Text(0));
      RETURN_IF_ERROR(names.status());
    }
    piece += 'T';
    PutBytes(piece, table);
    Put(piece, static_cast<uint32_t>(columns.size()));
    for (const std::string& column : columns) PutBytes(piece, column);
    ASSIGN_OR_RETURN(const Prepared rows,
                     Prepare(db, fmt::format("SELECT {} FROM {}", Joined(columns), Quoted(table))));
    int code;
    while ((code = sqlite3_step(rows.get())) == SQLITE_ROW) {
      piece += 'R';
      for (int i = 0; i < static_cast<int>(columns.size()); ++i) PutValue(piece, rows.get(), i);
      if (piece.size() < kPieceBytes) continue;
      RETURN_IF_ERROR(sink(piece));
      piece.clear();
    }
    if (code != SQLITE_DONE) return db.Error();
  }
  return piece.empty() ? absl::OkStatus() : sink(piece);
}

class RowLoader::Impl {
 public:
  explicit Impl(Connection& db) : db_(db) {}

  absl::Status Load(std::string_view piece) {
    Reader reader(piece);
    while (!reader.done()) {
      char item = 0;
      if (!reader.Take(item)) return NoPiece();
      if (item == 'T') {
        RETURN_IF_ERROR(BeginTable(reader));
      } else if (item == 'R' && insert_ != nullptr) {
        RETURN_IF_ERROR(InsertRow(reader));
      } else {
        return NoPiece();
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status BeginTable(Reader& reader) {
    std::string_view table, name;
    uint32_t count = 0;
    if (!reader.TakeBytes(table) || !reader.Take(count)) return NoPiece();
    std::vector<std::string> columns;
    std::string values;
    for (uint32_t i = 0; i < count; ++i) {
      if (!reader.TakeBytes(name)) return NoPiece();
      columns.emplace_back(name);
      values += i == 0 ? "?" : ", ?";
    }
    columns_ = static_cast<int>(count);
    // What the schema put there itself; of sqlite_sequence, what inserted rows did.
    RETURN_IF_ERROR(db_.Script(fmt::format("DELETE FROM {}", Quoted(table))));
    ASSIGN_OR_RETURN(insert_, Prepare(db_, fmt::format("INSERT INTO {} ({}) VALUES ({})",
                                                       Quoted(table), Joined(columns), values)));
    return absl::OkStatus();
  }

  absl::Status InsertRow(Reader& reader) {
    sqlite3_stmt* row = insert_.get();
    for (int i = 1; i <= columns_; ++i) {
      char type = 0;
      int64_t integer = 0;
      double real = 0;
      std::string_view bytes;
      if (!reader.Take(type)) return NoPiece();
      bool good = true;
      switch (type) {
        case 'i':
          good = reader.Take(integer) && sqlite3_bind_int64(row, i, integer) == SQLITE_OK;
          break;
        case 'f':
          good = reader.Take(real) && sqlite3_bind_double(row, i, real) == SQLITE_OK;
          break;
        case 't':
          good = reader.TakeBytes(bytes) &&
                 sqlite3_bind_text64(row, i, bytes.data(), bytes.size(), SQLITE_STATIC,
                                     SQLITE_UTF8) == SQLITE_OK;
          break;
        case 'b':
          good = reader.TakeBytes(bytes) && sqlite3_bind_blob64(row, i, bytes.data(), bytes.size(),
                                                                SQLITE_STATIC) == SQLITE_OK;
          break;
        case 'n':
          good = sqlite3_bind_null(row, i) == SQLITE_OK;
          break;
        default:
          good = false;
      }
      if (!good) return NoPiece();
    }
    const int code = sqlite3_step(row);
    if (code != SQLITE_DONE) return db_.Error();
    sqlite3_reset(row);
    return absl::OkStatus();
  }

  Connection& db_;
  Prepared insert_;
  int columns_ = 0;
};

RowLoader::RowLoader(Connection& db) : impl_(std::make_unique<Impl>(db)) {}
RowLoader::~RowLoader() = default;
absl::Status RowLoader::Load(std::string_view piece) { return impl_->Load(piece); }

}  // namespace ckptd::catalog
