// The bytes of the journal's files: a row of frames, each at a multiple of 4096
// bytes and padded with zeros up to the next. Integers are little-endian.
//
//   at  size
//    0     4  "CKJ1"
//    4     4  kind
//    8     8  number: of a record, the transaction's; of a piece, from 0
//   16     8  bytes of the payload, as stored
//   24     8  its bytes before zstd; 0: it is stored as it is
//   32    32  BLAKE3 of the digest before, bytes 0..31 and the payload
//   64        payload
//
// A file begins with a head, whose digest before is zeros:
//   N.records   head, then records. The digest before the first is that of the
//               head's position, so that a record's digest is of all before it,
//               whichever files they are in.
//   N.snapshot  head, then pieces (snapshot.h), then an end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "daemon/catalog/position.h"
#include "daemon/os/file_system.h"
#include "daemon/os/io_memory.h"
#include "proto/digest.h"
#include "proto/status.h"

namespace ckptd::catalog {

// "0000000000000007.records" and its number; nothing for any other name.
struct JournalName {
  uint64_t number = 0;
  bool snapshot = false;
  auto operator<=>(const JournalName&) const = default;
};
std::string ToString(const JournalName& name);
std::optional<JournalName> ParseJournalName(std::string_view text);

enum class FrameKind : uint32_t { kHead = 1, kRecord = 2, kPiece = 3, kEnd = 4 };

// Where the file's records begin, or what its snapshot is of.
struct Head {
  uint32_t schema = 0;
  Position position;
};
std::string EncodeHead(const Head& head);
// Nothing for other bytes, and for those of a newer version.
std::optional<Head> DecodeHead(std::string_view payload);

// Makes frames, in memory that can be written with direct I/O. Not thread-safe.
class FrameWriter {
 public:
  // Valid until the next; `digest` gets the frame's.
  std::span<const std::byte> Encode(FrameKind kind, uint64_t number, const ckpt::Digest& before,
                                    std::string_view payload, ckpt::Digest& digest);

 private:
  std::string compressed_;
  os::IoMemory memory_;
  size_t capacity_ = 0;
};

struct Frame {
  FrameKind kind = FrameKind::kHead;
  uint64_t number = 0;
  std::string payload;  // empty where it was not asked for
  ckpt::Digest digest;
  uint64_t offset = 0, end = 0;  // in the file
};

// The frame at `offset`; nothing where none is, or not the one that follows
// `before`. Errors are the file's.
absl::StatusOr<std::optional<Frame>> ReadFrame(os::File& file, uint64_t offset,
                                               const ckpt::Digest& before, bool with_payload);
// Of a frame at a multiple of 4096 from `offset` that has a header, whatever
// its digest: kind and number. Nothing where there is none.
struct FrameName {
  FrameKind kind = FrameKind::kHead;
  uint64_t number = 0;
};
absl::StatusOr<std::optional<FrameName>> LastFrameName(os::File& file, uint64_t offset);

}  // namespace ckptd::catalog
