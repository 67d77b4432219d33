// Where everything lies in the data directory, and the bytes of a pack.
//
//   DATA_DIR/
//     format               "ckptd 1\n": the version of this layout
//     lock                 held by the daemon that uses the directory; its pid
//     catalog.sqlite       with -wal beside it; .damaged-TIME: what a rebuild
//                          found in its place
//     packs/XX/ID.pack     ID: 16 hexadecimal digits, XX: the last two of them
//     packs/journal/       what the catalog is rebuilt from (catalog/journal.h)
//     packs/aside-TIME/    packs that the rebuilt catalog knows nothing of, and
//                          nobody uses (set_aside.h)
//
// A pack is a header block and then records, each beginning at a multiple of
// 4096 bytes. Integers are little-endian.
//
//   pack header (4096 bytes)           record header (64 bytes)
//   at  size                           at  size
//    0     8  "CKPTPACK"                0     4  "CKR1"
//    8     4  version, 1                4     1  type: 1 chunk, 2 note,
//                                                3 encoded chunk (codec.h)
//   12     4  zero                      5     1  flags, 0
//   16     8  pack id                   6     2  zero
//   24    32  BLAKE3 of bytes 0..23     8     4  length of the payload
//   56  4040  zero                     12     4  record's offset / 4096
//                                      16    32  BLAKE3 of the payload
//                                      48     8  pack id
//                                      56     8  BLAKE3 of bytes 0..55, cut
//                                      64        payload, then zeros up to
//                                                the next multiple of 4096
//
// The record header says where it belongs, so that a block from elsewhere (an
// old pack's, a misdirected write's) never passes for one.
//
// An encoded chunk's length and digest are those of the payload, as everywhere;
// the payload says which chunk it is. A daemon from before there were any
// refuses the directory by its catalog's schema, which it opens first.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "daemon/chunks/chunk_store.h"
#include "daemon/os/file_system.h"
#include "proto/digest.h"
#include "proto/limits.h"
#include "proto/status.h"

namespace ckptd {

// ---- Paths -------------------------------------------------------------------

inline constexpr uint32_t kLayoutVersion = 1;

class Layout {
 public:
  static constexpr char kJournal[] = "journal";
  static constexpr char kAside[] = "aside-";  // and the time

  explicit Layout(std::string data_dir) : dir_(std::move(data_dir)) {}

  const std::string& dir() const { return dir_; }
  std::string Format() const { return dir_ + "/format"; }
  std::string Lock() const { return dir_ + "/lock"; }
  std::string Catalog() const { return dir_ + "/catalog.sqlite"; }
  std::string Packs() const { return dir_ + "/packs"; }
  std::string Journal() const { return Packs() + "/" + kJournal; }
  std::string PackDir(PackId id) const;  // Packs()/XX
  std::string Pack(PackId id) const;

 private:
  std::string dir_;
};

// The id in "0123456789abcdef.pack"; nothing for any other name.
std::optional<PackId> ParsePackName(std::string_view name);

// Creates the data directory where there is none, takes its lock, and checks
// or writes `format`. To be called before anything else touches the directory;
// the lock is kept as long as the directory is used.
// FAILED_PRECONDITION: DIRECTORY_LOCKED, VERSION_TOO_NEW, READ_ONLY.
absl::StatusOr<std::unique_ptr<os::FileLock>> ClaimDataDir(os::FileSystem* fs,
                                                           const Layout& layout);

// ---- Records -----------------------------------------------------------------

inline constexpr uint32_t kPackVersion = 1;
inline constexpr size_t kPackHeaderBytes = os::kBlockBytes;
inline constexpr size_t kRecordHeaderBytes = 64;
inline constexpr uint32_t kMaxNoteBytes = ckpt::kMaxMessageBytes;
// A record's offset is kept in blocks of 4096 in 32 bits.
inline constexpr uint64_t kMaxPackBytes = (uint64_t{1} << 32) * os::kBlockBytes;

enum class RecordType : uint8_t { kChunk = 1, kNote = 2, kEncoded = 3 };

struct RecordHeader {
  RecordType type = RecordType::kChunk;
  uint32_t length = 0;
  PackId pack = 0;
  uint64_t offset = 0;
  ckpt::Digest digest;
  bool operator==(const RecordHeader&) const = default;
};

// Bytes in the pack of a record with `length` bytes of payload.
constexpr uint64_t RecordExtent(uint32_t length) {
  return os::RoundUpToBlock(kRecordHeaderBytes + uint64_t{length});
}

void EncodeRecordHeader(const RecordHeader& header, std::span<std::byte, kRecordHeaderBytes> out);
// Nothing where the bytes are no record header of ours; whether it is the one
// that was looked for (pack, offset, digest, length) is the caller's question.
std::optional<RecordHeader> DecodeRecordHeader(std::span<const std::byte, kRecordHeaderBytes> in);

// `out` is the whole header block.
void EncodePackHeader(PackId id, std::span<std::byte, kPackHeaderBytes> out);

struct PackHeader {
  uint32_t version = 0;
  PackId id = 0;
};
std::optional<PackHeader> DecodePackHeader(std::span<const std::byte, kPackHeaderBytes> in);

}  // namespace ckptd
