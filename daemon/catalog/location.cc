#include "daemon/catalog/location.h"

#include <utility>
#include <vector>

#include "daemon/catalog/encoding.h"

namespace ckptd::catalog {

namespace {

ChunkLocation WithoutBase(const Statement& row, int column) {
  return {.pack = row.Uint(column),
          .offset = row.Uint(column + 1),
          .extent = row.Uint(column + 2),
          .length = row.Uint32(column + 3),
          .encoded = row.Uint32(column + 4)};
}

}  // namespace

absl::StatusOr<ChunkLocation> ReadLocation(Connection& db, const Statement& row, int column,
                                           BaseCache& bases) {
  ChunkLocation location = WithoutBase(row, column);
  if (row.IsNull(column + 5)) return location;
  // Down the chain to what is known or has no base, then back.
  std::vector<std::pair<int64_t, StoredChunk>> chain;
  std::shared_ptr<const StoredChunk> base;
  for (std::optional<int64_t> next = row.Int(column + 5); next;) {
    if (const auto known = bases.find(*next); known != bases.end()) {
      base = known->second;
      break;
    }
    ASSIGN_OR_RETURN(Statement link, db.Query(R"sql(
        SELECT digest, pack, pack_offset, extent, length, encoded, base FROM chunks
        WHERE row = ?1)sql",
                                              *next));
    if (!link.Next() || chain.size() > kMaxBases) {
      RETURN_IF_ERROR(link.status());
      return ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
                             fmt::format("The catalog does not agree with itself: the chunk with "
                                         "row {} is not there or has bases without an end. Restore "
                                         "it from a backup.",
                                         *next));
    }
    chain.push_back({*next, {link.DigestAt(0), WithoutBase(link, 1)}});
    next = link.IsNull(6) ? std::nullopt : std::optional(link.Int(6));
  }
  for (auto link = chain.rbegin(); link != chain.rend(); ++link) {
    link->second.location.base = std::move(base);
    base = std::make_shared<const StoredChunk>(std::move(link->second));
    bases.emplace(link->first, base);
  }
  location.base = std::move(base);
  return location;
}

}  // namespace ckptd::catalog
