// Writes one pack with direct I/O (layout.h). Internal to daemon/chunks.
//
// A record is laid out in a buffer of the pool, which belongs to the write
// until that is done. So the pool bounds what is on its way to the disk: where
// the disk is slower than the senders, Append waits for a buffer, the stream
// that called it reads no further, and gRPC's flow control holds the client.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include <absl/synchronization/mutex.h>

#include "daemon/chunks/buffer_pool.h"
#include "daemon/chunks/chunk_store.h"
#include "daemon/chunks/layout.h"
#include "daemon/chunks/pack_directory.h"
#include "daemon/os/file_system.h"

namespace ckptd {

// A buffer takes the largest chunk's record.
inline constexpr size_t kWriteBufferBytes = RecordExtent(ckpt::kMaxChunkBytes);

class FilePackWriter final : public PackWriter {
 public:
  // Creates the pack and writes its header; nothing is synced. Where that
  // fails no file remains. `packs` and `buffers` must outlive the writer.
  static absl::StatusOr<std::unique_ptr<FilePackWriter>> Create(PackDirectory* packs,
                                                                BufferPool* buffers, PackId id,
                                                                uint64_t expected_bytes);
  // Waits for the writes under way. What a dead writer took of the disk goes back.
  ~FilePackWriter() override;

  PackId id() const override { return id_; }
  absl::StatusOr<ChunkLocation> Append(const ckpt::Digest& digest,
                                       std::span<const std::span<const std::byte>> parts) override;
  absl::StatusOr<ChunkLocation> AppendEncoded(uint32_t length,
                                              std::span<const std::byte> encoded) override;
  absl::Status AppendNote(std::string_view note) override;
  absl::Status MakeDurable() override;
  uint64_t size() const override;
  uint64_t spare() const override;

 private:
  FilePackWriter(PackDirectory* packs, BufferPool* buffers, PackId id, uint64_t expected_bytes,
                 std::unique_ptr<os::File> file)
      : packs_(packs),
        buffers_(buffers),
        id_(id),
        file_(std::move(file)),
        expected_size_(kPackHeaderBytes + expected_bytes) {}

  // Takes the next step of room on the disk.
  absl::Status Allocate() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The place of a record; several threads then write theirs at once.
  absl::StatusOr<ChunkLocation> Reserve(uint32_t length) ABSL_LOCKS_EXCLUDED(mutex_);
  // Begins to write the buffer's first `filled` bytes, with zeros up to the end
  // of the block, at `offset`. Fails only where the writer is dead.
  absl::Status StartWrite(BufferPool::Buffer buffer, size_t filled, uint64_t offset)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void WriteDone(const absl::Status& status, uint64_t offset, uint64_t length)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // OK, or what the writer died of.
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_);
  // The first failure ends the writer; returns it, now and ever after.
  absl::Status Die(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status DieLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  PackDirectory* const packs_;
  BufferPool* const buffers_;
  const PackId id_;
  const std::unique_ptr<os::File> file_;
  const uint64_t expected_size_;  // of the file; a guess

  mutable absl::Mutex mutex_;
  absl::Status dead_ ABSL_GUARDED_BY(mutex_);
  uint64_t size_ ABSL_GUARDED_BY(mutex_) = kPackHeaderBytes;
  uint64_t durable_size_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t allocated_ ABSL_GUARDED_BY(mutex_) = 0;  // of the file, ahead of its records
  bool can_allocate_ ABSL_GUARDED_BY(mutex_) = true;
  int writes_ ABSL_GUARDED_BY(mutex_) = 0;  // under way
};

}  // namespace ckptd
