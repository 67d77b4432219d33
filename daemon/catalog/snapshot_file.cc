#include "daemon/catalog/snapshot_file.h"

#include <cstdint>
#include <string_view>

#include "daemon/catalog/snapshot.h"

namespace ckptd::catalog {

absl::Status WriteSnapshotFile(Connection& db, const Head& head, const ByteSink& sink) {
  FrameWriter frames;
  ckpt::Digest digest;
  const auto add = [&](FrameKind kind, uint64_t number, std::string_view payload) {
    const ckpt::Digest before = digest;
    return sink(frames.Encode(kind, number, before, payload, digest));
  };
  RETURN_IF_ERROR(add(FrameKind::kHead, 0, EncodeHead(head)));
  uint64_t pieces = 0;
  RETURN_IF_ERROR(WriteRows(
      db, [&](std::string_view piece) { return add(FrameKind::kPiece, pieces++, piece); }));
  return add(FrameKind::kEnd, pieces, "");
}

}  // namespace ckptd::catalog
