#include "daemon/catalog/opening.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/migrations.h"

namespace ckptd::catalog {
namespace {

// Files of later schemas always have checksums: where the header says
// otherwise, it is the header that is wrong.
constexpr int64_t kLastSchemaWithoutSums = 6;

absl::Status AddChecksums(Connection& db, const std::string& path) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> schema, db.Integer("PRAGMA user_version"));
  if (schema.value_or(0) > kLastSchemaWithoutSums) {
    return ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
                           fmt::format("The catalog {} is damaged: its header leaves no room for "
                                       "checksums. Start the daemon again, which repairs it.",
                                       path));
  }
  spdlog::info("catalog {}: laid out anew, so that its pages carry checksums", path);
  // Not in memory: it may be large. In WAL mode the file has either layout
  // whenever the power goes.
  RETURN_IF_ERROR(db.Script(R"sql(
    PRAGMA temp_store = FILE;
    VACUUM;
    PRAGMA temp_store = MEMORY;
    PRAGMA wal_checkpoint(TRUNCATE);
  )sql"));
  if (db.guarded()) return absl::OkStatus();
  return ckpt::MakeError(
      absl::StatusCode::kUnavailable, ckpt::reason::kIoError,
      fmt::format("The catalog {} could not be laid out anew: another process uses it.", path));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Connection>> OpenWhole(const std::string& path,
                                                      const std::string& base_vfs) {
  ASSIGN_OR_RETURN(std::unique_ptr<Connection> db,
                   Connection::Open(path, Connection::Mode::kWriter, base_vfs));
  RETURN_IF_ERROR(Migrate(*db, 0));  // too new: left alone
  RETURN_IF_ERROR(db->Script(R"sql(
    PRAGMA journal_mode = WAL;
    PRAGMA journal_size_limit = 67108864;
  )sql"));
  if (!db->guarded()) RETURN_IF_ERROR(AddChecksums(*db, path));
  // Whoever has it open already has checked it.
  if (!db->only_user()) return db;
  RETURN_IF_ERROR(db->Script("PRAGMA wal_checkpoint(TRUNCATE)"));
  RETURN_IF_ERROR(db->CheckPages());
  return db;
}

}  // namespace ckptd::catalog
