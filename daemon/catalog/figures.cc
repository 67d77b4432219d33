// The calls of chunks.h that add up or compare.
#include <iterator>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "daemon/catalog/chunks.h"
#include "daemon/catalog/encoding.h"
#include "daemon/catalog/sqlite.h"
#include "daemon/catalog/uploads.h"

namespace ckptd::catalog {

namespace {

absl::Status Disagrees(const std::string& what) {
  return ckpt::MakeError(
      absl::StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
      fmt::format("The catalog does not agree with itself: {}. Restore it from a backup.", what));
}

// OK when the query, which looks for a disagreement, finds none; otherwise its
// first column is named.
absl::Status ExpectNone(Connection& db, std::string_view sql, std::string_view what) {
  ASSIGN_OR_RETURN(Statement rows, db.Query(sql));
  if (rows.Next()) return Disagrees(fmt::format("{} {}", what, rows.Int(0)));
  return rows.status();
}

absl::Status CheckShard(ReadTxn& txn, int64_t shard_row, bool complete) {
  ASSIGN_OR_RETURN(const ckpt::Manifest manifest, GetUploadManifest(txn, shard_row));
  ASSIGN_OR_RETURN(auto chunks, ShardChunks(txn, shard_row));
  std::unordered_set<ckpt::Digest> seen;
  for (const ckpt::Chunk& chunk : manifest.chunks) {
    if (!seen.insert(chunk.digest).second) continue;
    const auto found = chunks.find(chunk.digest);
    if (found == chunks.end()) {
      if (!complete) continue;
      return Disagrees(fmt::format("shard {} lacks its chunk {}", shard_row, chunk.digest.Hex()));
    }
    if (found->second.length != chunk.length) {
      return Disagrees(fmt::format("chunk {} has {} bytes, but shard {} says {}",
                                   chunk.digest.Hex(), found->second.length, shard_row,
                                   chunk.length));
    }
    chunks.erase(found);
  }
  if (!chunks.empty()) {
    return Disagrees(fmt::format("shard {} refers to chunk {}, which its manifest does not name",
                                 shard_row, chunks.begin()->first.Hex()));
  }
  return absl::OkStatus();
}

constexpr char kWholeFigures[] = R"sql(
SELECT (SELECT COUNT(*) FROM runs WHERE deleted = 0),
       (SELECT SUM(checkpoints) FROM runs), (SELECT SUM(bytes) FROM runs),
       (SELECT SUM(stored_bytes) FROM projects), (SELECT SUM(chunks) FROM projects),
       (SELECT SUM(extent) FROM reclaims),
       (SELECT COUNT(*) FROM checkpoints AS c JOIN shards AS s ON s.checkpoint_row = c.row
        WHERE c.id IS NULL)
)sql";

constexpr char kProjectFigures[] = R"sql(
SELECT (SELECT COUNT(*) FROM runs WHERE project_id = ?1 AND deleted = 0),
       (SELECT SUM(checkpoints) FROM runs WHERE project_id = ?1),
       (SELECT SUM(bytes) FROM runs WHERE project_id = ?1),
       p.stored_bytes, p.chunks,
       (SELECT SUM(extent) FROM reclaims WHERE project_id = ?1),
       (SELECT COUNT(*) FROM checkpoints AS c JOIN shards AS s ON s.checkpoint_row = c.row
        JOIN runs AS r ON r.id = c.run_id WHERE c.id IS NULL AND r.project_id = ?1)
FROM projects AS p WHERE p.id = ?1
)sql";

// Reads all references of the run: extents on their way back are of nobody.
constexpr char kRunFigures[] = R"sql(
WITH used AS MATERIALIZED (
  SELECT COUNT(*) AS chunks, SUM(k.extent) AS stored_bytes FROM chunks AS k WHERE k.row IN (
    SELECT sc.chunk_row
    FROM checkpoints AS c JOIN shards AS s ON s.checkpoint_row = c.row
    JOIN shard_chunks AS sc ON sc.shard_row = s.row
    WHERE c.run_id = ?1 AND c.id IS NOT NULL AND c.removed_at IS NULL))
SELECT r.deleted = 0, r.checkpoints, r.bytes, u.stored_bytes, u.chunks, 0,
       (SELECT COUNT(*) FROM checkpoints AS c JOIN shards AS s ON s.checkpoint_row = c.row
        WHERE c.run_id = ?1 AND c.id IS NULL)
FROM runs AS r CROSS JOIN used AS u WHERE r.id = ?1
)sql";

}  // namespace

absl::StatusOr<Figures> GetFigures(ReadTxn& txn, std::optional<int64_t> project_id,
                                   std::optional<int64_t> run_id) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(Statement rows, run_id       ? db.Query(kRunFigures, *run_id)
                                   : project_id ? db.Query(kProjectFigures, *project_id)
                                                : db.Query(kWholeFigures));
  Figures figures;
  if (rows.Next()) {
    figures.runs = rows.Uint(0);
    figures.checkpoints = rows.Uint(1);
    figures.logical_bytes = rows.Uint(2);
    figures.stored_bytes = rows.Uint(3);
    figures.chunks = rows.Uint(4);
    figures.reclaimable_bytes = rows.Uint(5);
    figures.open_uploads = rows.Uint(6);
  }
  RETURN_IF_ERROR(rows.status());
  return figures;
}

absl::StatusOr<uint64_t> FreedBy(ReadTxn& txn, const std::vector<uint64_t>& checkpoint_ids) {
  Connection& db = txn.connection();
  std::unordered_set<int64_t> shards;
  for (const uint64_t id : checkpoint_ids) {
    ASSIGN_OR_RETURN(Statement rows, db.Query(R"sql(
        SELECT s.row FROM checkpoints AS c JOIN shards AS s ON s.checkpoint_row = c.row
        WHERE c.id = ?1)sql",
                                              id));
    while (rows.Next()) shards.insert(rows.Int(0));
    RETURN_IF_ERROR(rows.status());
  }
  ASSIGN_OR_RETURN(Statement users,
                   db.Query("SELECT shard_row FROM shard_chunks WHERE chunk_row = ?1"));
  // Stops at the first user from outside.
  auto is_used = [&](int64_t row) -> absl::StatusOr<bool> {
    bool used = false;
    users.Rebind(row);
    while (!used && users.Next()) used = !shards.contains(users.Int(0));
    RETURN_IF_ERROR(users.status());
    return used;
  };
  struct Freed {
    uint64_t extent = 0;
    int64_t base = 0;  // 0: none
  };
  std::unordered_map<int64_t, Freed> freed;
  std::unordered_set<int64_t> seen;
  for (const int64_t shard : shards) {
    ASSIGN_OR_RETURN(Statement chunks, db.Query(R"sql(
        SELECT c.row, c.extent, c.base
        FROM shard_chunks AS s JOIN chunks AS c ON c.row = s.chunk_row WHERE s.shard_row = ?1)sql",
                                                shard));
    while (chunks.Next()) {
      if (!seen.insert(chunks.Int(0)).second) continue;
      ASSIGN_OR_RETURN(const bool used, is_used(chunks.Int(0)));
      if (!used) freed.emplace(chunks.Int(0), Freed{chunks.Uint(1), chunks.Int(2)});
    }
    RETURN_IF_ERROR(chunks.status());
  }
  // As ReleaseUnused: what is the base of something that stays, stays; what was
  // a base only for what goes, goes.
  ASSIGN_OR_RETURN(Statement differences, db.Query("SELECT row FROM chunks WHERE base = ?1"));
  auto is_base = [&](int64_t row) -> absl::StatusOr<bool> {
    bool used = false;
    differences.Rebind(row);
    while (!used && differences.Next()) used = !freed.contains(differences.Int(0));
    RETURN_IF_ERROR(differences.status());
    return used;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (auto it = freed.begin(); it != freed.end();) {
      ASSIGN_OR_RETURN(const bool stays, is_base(it->first));
      changed |= stays;
      it = stays ? freed.erase(it) : std::next(it);
    }
  }
  std::vector<int64_t> bases;
  for (const auto& [row, chunk] : freed) {
    if (chunk.base != 0) bases.push_back(chunk.base);
  }
  while (!bases.empty()) {
    const int64_t row = bases.back();
    bases.pop_back();
    if (freed.contains(row)) continue;
    ASSIGN_OR_RETURN(const bool used, is_used(row));
    ASSIGN_OR_RETURN(const bool stays, is_base(row));
    if (used || stays) continue;
    ASSIGN_OR_RETURN(Statement chunk,
                     db.Query("SELECT extent, base FROM chunks WHERE row = ?1", row));
    if (chunk.Next()) {
      freed.emplace(row, Freed{chunk.Uint(0), chunk.Int(1)});
      if (chunk.Int(1) != 0) bases.push_back(chunk.Int(1));
    }
    RETURN_IF_ERROR(chunk.status());
  }
  uint64_t bytes = 0;
  for (const auto& [row, chunk] : freed) bytes += chunk.extent;
  return bytes;
}

absl::Status CheckReferences(ReadTxn& txn) {
  Connection& db = txn.connection();
  ASSIGN_OR_RETURN(Statement shards, db.Query(R"sql(
      SELECT s.row, s.durable FROM shards AS s JOIN manifests AS m ON m.shard_row = s.row
      ORDER BY s.row)sql"));
  while (shards.Next()) RETURN_IF_ERROR(CheckShard(txn, shards.Int(0), shards.Bool(1)));
  RETURN_IF_ERROR(shards.status());

  RETURN_IF_ERROR(ExpectNone(db, R"sql(
      SELECT s.row FROM shards AS s JOIN checkpoints AS c ON c.row = s.checkpoint_row
      WHERE c.reclaimed = 0 AND NOT EXISTS (SELECT 1 FROM manifests AS m WHERE m.shard_row = s.row)
      )sql",
                             "there is no manifest of shard"));
  RETURN_IF_ERROR(ExpectNone(db, R"sql(
      SELECT x.shard_row FROM shard_chunks AS x
      WHERE NOT EXISTS (SELECT 1 FROM manifests AS m WHERE m.shard_row = x.shard_row)
        AND NOT EXISTS (
          SELECT 1 FROM shards AS s JOIN checkpoints AS c ON c.row = s.checkpoint_row
          WHERE s.row = x.shard_row AND c.reclaim_at IS NOT NULL))sql",
                             "there are references of the released shard"));
  RETURN_IF_ERROR(ExpectNone(db, R"sql(
      SELECT c.row FROM chunks AS c
      WHERE NOT EXISTS (SELECT 1 FROM shard_chunks AS s WHERE s.chunk_row = c.row)
        AND NOT EXISTS (SELECT 1 FROM chunks AS d WHERE d.base = c.row))sql",
                             "neither a shard nor a difference refers to the chunk with row"));
  RETURN_IF_ERROR(ExpectNone(db, R"sql(
      SELECT d.row FROM chunks AS d JOIN chunks AS c ON c.row = d.base
      WHERE d.encoded = 0 OR d.project_id <> c.project_id OR d.length <> c.length)sql",
                             "it cannot be the difference to its base, the chunk with row"));
  RETURN_IF_ERROR(
      ExpectNone(db,
                 fmt::format(R"sql(
      WITH RECURSIVE r (row, links) AS (
        SELECT row, 0 FROM chunks WHERE base IS NULL
        UNION ALL SELECT d.row, links + 1 FROM r JOIN chunks AS d ON d.base = r.row)
      SELECT row FROM r WHERE links > {0}
      UNION ALL
      SELECT row FROM chunks WHERE row NOT IN (SELECT row FROM r))sql",
                             kMaxBases),
                 "its chain of bases has no end or is too long, of the chunk with row"));
  RETURN_IF_ERROR(ExpectNone(db, R"sql(
      SELECT q.row FROM reclaims AS q
      WHERE q.pack_offset < (
        SELECT c.pack_offset + c.extent FROM chunks AS c
        WHERE c.pack = q.pack AND c.pack_offset < q.pack_offset + q.extent
        ORDER BY c.pack_offset DESC LIMIT 1)
      )sql",
                             "a live chunk lies in the extent to be given back with row"));
  RETURN_IF_ERROR(ExpectNone(db, R"sql(
      SELECT c.id FROM checkpoints AS c
      WHERE c.id IS NOT NULL AND c.world_size <> (
        SELECT COUNT(*) FROM shards AS s WHERE s.checkpoint_row = c.row AND s.durable = 1))sql",
                             "not all shards are durable of checkpoint"));
  RETURN_IF_ERROR(ExpectNone(db, R"sql(
      SELECT p.id FROM projects AS p
      WHERE (p.chunks, p.stored_bytes) <> (
        SELECT COUNT(*), COALESCE(SUM(c.extent), 0) FROM chunks AS c WHERE c.project_id = p.id)
      )sql",
                             "the figures are wrong of the project with row"));
  return ExpectNone(db, R"sql(
      SELECT r.id FROM runs AS r
      WHERE (r.checkpoints, r.removed, r.bytes) <> (
        SELECT COUNT(*) FILTER (WHERE c.removed_at IS NULL),
               COUNT(*) FILTER (WHERE c.removed_at IS NOT NULL),
               COALESCE(SUM(c.bytes) FILTER (WHERE c.removed_at IS NULL), 0)
        FROM checkpoints AS c WHERE c.run_id = r.id AND c.id IS NOT NULL))sql",
                    "the figures are wrong of the run with row");
}

}  // namespace ckptd::catalog
