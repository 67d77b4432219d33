#include "daemon/catalog/scrub.h"

#include <memory>
#include <utility>

#include "daemon/catalog/chunks.h"
#include "daemon/catalog/sqlite.h"
#include "daemon/catalog/uploads.h"

namespace ckptd::catalog {

absl::StatusOr<ScrubRow> GetScrub(ReadTxn& txn) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT under_way, asked, started_at, ended_at, shard_row, last_shard_row, pack, pack_offset,
        last_pack, bytes, chunks, manifests, packs, damaged_chunks, damaged_manifests,
        damaged_packs, unreadable, healed
      FROM scrub WHERE id = 1)sql"));
  ScrubRow row;
  if (rows.Next()) {
    row = {.under_way = rows.Bool(0),
           .asked = rows.Bool(1),
           .started_at = rows.OptionalTime(2),
           .ended_at = rows.OptionalTime(3),
           .shard_row = rows.Int(4),
           .last_shard_row = rows.Int(5),
           .pack = rows.Uint(6),
           .pack_offset = rows.Uint(7),
           .last_pack = rows.Uint(8),
           .bytes = rows.Uint(9),
           .chunks = rows.Uint(10),
           .manifests = rows.Uint(11),
           .packs = rows.Uint(12),
           .damaged_chunks = rows.Uint(13),
           .damaged_manifests = rows.Uint(14),
           .damaged_packs = rows.Uint(15),
           .unreadable = rows.Uint(16),
           .healed = rows.Uint(17)};
  }
  RETURN_IF_ERROR(rows.status());
  return row;
}

absl::Status SetScrub(WriteTxn& txn, const ScrubRow& row) {
  return txn.connection().Run(R"sql(
      UPDATE scrub SET under_way = ?1, asked = ?2, started_at = ?3, ended_at = ?4, shard_row = ?5,
        last_shard_row = ?6, pack = ?7, pack_offset = ?8, last_pack = ?9, bytes = ?10,
        chunks = ?11, manifests = ?12, packs = ?13, damaged_chunks = ?14, damaged_manifests = ?15,
        damaged_packs = ?16, unreadable = ?17, healed = ?18
      WHERE id = 1)sql",
                              row.under_way, row.asked, row.started_at, row.ended_at, row.shard_row,
                              row.last_shard_row, row.pack, row.pack_offset, row.last_pack,
                              row.bytes, row.chunks, row.manifests, row.packs, row.damaged_chunks,
                              row.damaged_manifests, row.damaged_packs, row.unreadable, row.healed);
}

absl::StatusOr<ScrubRow> NewScrub(ReadTxn& txn, absl::Time now) {
  ASSIGN_OR_RETURN(const ScrubRow before, GetScrub(txn));
  ScrubRow row{.under_way = true, .started_at = now, .ended_at = before.ended_at};
  ASSIGN_OR_RETURN(const std::optional<int64_t> last,
                   txn.connection().Integer("SELECT MAX(shard_row) FROM manifests"));
  row.last_shard_row = last.value_or(0);
  ASSIGN_OR_RETURN(row.last_pack, NewestPack(txn));
  return row;
}

absl::StatusOr<std::vector<ScrubChunk>> ListToScrub(ReadTxn& txn, PackId pack, uint64_t pack_offset,
                                                    PackId last_pack, uint32_t limit) {
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT c.row, c.project_id, c.digest, c.pack, c.pack_offset, c.extent, c.length, c.encoded,
        c.damaged, c.unreadable, (SELECT b.digest FROM chunks AS b WHERE b.row = c.base)
      FROM chunks AS c
      WHERE (c.pack, c.pack_offset) > (?1, ?2) AND c.pack <= ?3
      ORDER BY c.pack, c.pack_offset LIMIT ?4)sql",
                                                          pack, pack_offset, last_pack, limit));
  std::vector<ScrubChunk> chunks;
  while (rows.Next()) {
    ScrubChunk chunk{.row = rows.Int(0),
                     .project_id = rows.Int(1),
                     .chunk = {.digest = rows.DigestAt(2),
                               .location = {.pack = rows.Uint(3),
                                            .offset = rows.Uint(4),
                                            .extent = rows.Uint(5),
                                            .length = rows.Uint32(6),
                                            .encoded = rows.Uint32(7)}},
                     .damaged = rows.Int(8) == 1,
                     .unreadable = rows.Uint32(9)};
    if (!rows.IsNull(10)) {
      chunk.chunk.location.base =
          std::make_shared<const StoredChunk>(StoredChunk{.digest = rows.DigestAt(10)});
    }
    chunks.push_back(std::move(chunk));
  }
  RETURN_IF_ERROR(rows.status());
  return chunks;
}

absl::StatusOr<bool> IsStillThere(ReadTxn& txn, const ScrubChunk& chunk) {
  const ChunkLocation& at = chunk.chunk.location;
  ASSIGN_OR_RETURN(const std::optional<int64_t> found,
                   txn.connection().Integer(R"sql(
      SELECT 1 FROM chunks WHERE row = ?1 AND digest = ?2 AND pack = ?3 AND pack_offset = ?4)sql",
                                            chunk.row, chunk.chunk.digest, at.pack, at.offset));
  return found.has_value();
}

absl::StatusOr<bool> HoldsChunks(ReadTxn& txn, PackId pack) {
  ASSIGN_OR_RETURN(
      const std::optional<int64_t> holds,
      txn.connection().Integer("SELECT EXISTS (SELECT 1 FROM chunks WHERE pack = ?1)", pack));
  return holds.value_or(0) != 0;
}

absl::Status SetUnreadable(WriteTxn& txn, int64_t chunk_row, uint32_t scrubs) {
  return txn.connection().Run("UPDATE chunks SET unreadable = ?2 WHERE row = ?1", chunk_row,
                              scrubs);
}

absl::StatusOr<std::optional<ScrubManifest>> NextManifest(ReadTxn& txn, int64_t shard_row,
                                                          int64_t last_shard_row) {
  // Without its bytes, so that those that cannot be read stop no other's.
  ASSIGN_OR_RETURN(Statement rows, txn.connection().Query(R"sql(
      SELECT m.shard_row, c.id, s.rank, s.damaged
      FROM manifests AS m JOIN shards AS s ON s.row = m.shard_row
      JOIN checkpoints AS c ON c.row = s.checkpoint_row
      WHERE m.shard_row > ?1 AND m.shard_row <= ?2
      ORDER BY m.shard_row LIMIT 1)sql",
                                                          shard_row, last_shard_row));
  if (!rows.Next()) {
    RETURN_IF_ERROR(rows.status());
    return std::nullopt;
  }
  ScrubManifest manifest{.shard_row = rows.Int(0),
                         .checkpoint_id = rows.Uint(1),
                         .rank = rows.Uint32(2),
                         .damaged = rows.Bool(3)};
  absl::StatusOr<uint64_t> bytes = CheckManifest(txn, manifest.shard_row);
  manifest.status = bytes.status();
  manifest.bytes = bytes.value_or(0);
  return manifest;
}

}  // namespace ckptd::catalog
