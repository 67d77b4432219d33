// Where chunks live. The only interface between the story (daemon/store) and
// the packs; narrow enough that an object store can stand behind it.
//
// Writing goes through one PackWriter an upload: chunks are appended, then one
// MakeDurable syncs data and directory. Before MakeDurable nothing that was
// appended may be relied on; after it everything may. The store knows nothing
// of digests shared between packs, references or liveness: the catalog does.
//
// Thread-safe. Errors: UNAVAILABLE/IO_ERROR or RESOURCE_EXHAUSTED/NO_SPACE
// from the file system, DATA_LOSS/CHUNK_DAMAGED for bytes that do not match.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/os/file_system.h"
#include "proto/digest.h"
#include "proto/status.h"

namespace ckptd {

using PackId = uint64_t;

struct StoredChunk;

// Where a chunk lies. `extent` covers its record with header and padding: the
// bytes that come back when it is punched out (a multiple of 4096).
struct ChunkLocation {
  PackId pack = 0;
  uint64_t offset = 0;  // of the record, in the pack; a multiple of 4096
  uint64_t extent = 0;
  uint32_t length = 0;  // of the chunk's own bytes
  // Bytes of the record's payload where that is the chunk encoded (codec.h); 0
  // where it is the chunk as it came.
  uint32_t encoded = 0;
  // What it is encoded as the difference to; nullptr: nothing.
  std::shared_ptr<const StoredChunk> base;

  uint32_t payload() const { return encoded != 0 ? encoded : length; }
  // The same record; whatever its base is, and wherever that lies.
  bool operator==(const ChunkLocation& other) const {
    return pack == other.pack && offset == other.offset && extent == other.extent &&
           length == other.length && encoded == other.encoded;
  }
};

struct StoredChunk {
  ckpt::Digest digest;
  ChunkLocation location;
};

// Appends to one pack. Append is thread-safe; the other calls are made once
// no Append is under way.
class PackWriter {
 public:
  virtual ~PackWriter() = default;

  virtual PackId id() const = 0;

  // Takes one chunk given in parts and begins to write it: returns before it is
  // on the disk, once the parts are no longer needed. Waits while as much is
  // being written as there is memory for.
  // INVALID_ARGUMENT/DIGEST_MISMATCH where the bytes are not those of the
  // digest: nothing is written, and the writer goes on. After any other failure,
  // also of a write that an earlier call began, the writer is dead: every later
  // call fails alike, and nothing of the pack may be used (DESIGN.md, decision 4).
  virtual absl::StatusOr<ChunkLocation> Append(
      const ckpt::Digest& digest, std::span<const std::span<const std::byte>> parts) = 0;

  // Writes a chunk of `length` bytes that was encoded (codec.h).
  virtual absl::StatusOr<ChunkLocation> AppendEncoded(uint32_t length,
                                                      std::span<const std::byte> encoded) = 0;

  // Appends a record that is no chunk: what the pack was written for
  // (a serialized ckpt.v1 message), so that the catalog can be rebuilt.
  virtual absl::Status AppendNote(std::string_view note) = 0;

  // Waits for what is being written; then fdatasync of the pack and fsync of
  // its directory. Idempotent.
  virtual absl::Status MakeDurable() = 0;

  // Bytes of the pack so far.
  virtual uint64_t size() const = 0;
  // Bytes that the pack has taken from the disk for records to come.
  virtual uint64_t spare() const = 0;
};

struct RecoveredPack {
  // Whole, digests checked, made durable. Not the encoded ones, which are only
  // copies until the catalog says otherwise.
  std::vector<StoredChunk> chunks;
  std::vector<std::string> notes;
  uint64_t size = 0;       // after the cut
  uint64_t cut_bytes = 0;  // of a torn end, removed
};

struct Usage {
  uint64_t disk_bytes = 0;  // allocated to packs (blocks, holes not counted)
  uint64_t free_bytes = 0;  // that an unprivileged writer could still take
};

class ChunkStore {
 public:
  virtual ~ChunkStore() = default;

  // A new, empty pack. `id` must never have been used before. Room for
  // `expected_bytes` of records is taken from the disk ahead of them where the
  // file system can; 0: not known.
  virtual absl::StatusOr<std::unique_ptr<PackWriter>> NewPack(PackId id,
                                                              uint64_t expected_bytes) = 0;
  absl::StatusOr<std::unique_ptr<PackWriter>> NewPack(PackId id) { return NewPack(id, 0); }

  // Reads a chunk's bytes into `out` (`location.length` bytes), decoding them
  // where they are encoded. With `verify` their digest is compared as well; the
  // record's header always is.
  virtual absl::Status Read(const ckpt::Digest& digest, const ChunkLocation& location,
                            std::span<std::byte> out, bool verify) = 0;
  // As Read without `verify`, but where it can without a copy (os::File::View): the
  // bytes are for who compares them himself, since they turn to zeros where the
  // record is punched out while he looks.
  virtual absl::StatusOr<std::unique_ptr<os::SharedBytes>> View(const ckpt::Digest& digest,
                                                                const ChunkLocation& location) = 0;

  // Reads a chunk's record past all caches and compares what can be compared
  // without its base: the header, the payload, and of an encoded chunk which one
  // it is and the difference to which. Nothing is said of the padding, which is
  // nobody's. Of `location.base` only the digest is looked at.
  virtual absl::Status Check(const ckpt::Digest& digest, const ChunkLocation& location) = 0;
  // The same of a pack's own header, without which chunks are read all the same,
  // but recovery does not go on. NOT_FOUND where there is no such pack.
  virtual absl::Status CheckHeader(PackId id) = 0;

  // Tells the kernel that these will be read soon. Never fails.
  virtual void Prefetch(std::span<const ChunkLocation> locations) = 0;

  // Gives a record's space back to the file system. Idempotent; a pack that is
  // gone is OK.
  virtual absl::Status Punch(const ChunkLocation& location) = 0;
  // Makes what was punched out of a pack so far last: before it a power cut may
  // take the space again. Idempotent; a pack that is gone is OK.
  virtual absl::Status SyncPunched(PackId id) = 0;
  // Unlinks a pack. Idempotent.
  virtual absl::Status RemovePack(PackId id) = 0;

  // After a crash: reads an unfinished pack, cuts it back to its last whole
  // record and makes what remains durable. NOT_FOUND where there is none.
  virtual absl::StatusOr<RecoveredPack> RecoverPack(PackId id) = 0;
  virtual absl::StatusOr<std::vector<PackId>> ListPacks() = 0;

  virtual absl::StatusOr<Usage> GetUsage() = 0;
};

}  // namespace ckptd
