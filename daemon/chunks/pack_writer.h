// Writes one pack with direct I/O (layout.h). Internal to daemon/chunks.
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
                                                                BufferPool* buffers, PackId id);

  PackId id() const override { return id_; }
  absl::StatusOr<ChunkLocation> Append(const ckpt::Digest& digest,
                                       std::span<const std::span<const std::byte>> parts) override;
  absl::Status AppendNote(std::string_view note) override;
  absl::Status MakeDurable() override;
  uint64_t size() const override;

 private:
  FilePackWriter(PackDirectory* packs, BufferPool* buffers, PackId id,
                 std::unique_ptr<os::File> file)
      : packs_(packs), buffers_(buffers), id_(id), file_(std::move(file)) {}

  // Reserves room for a record; several threads then write theirs at once.
  absl::StatusOr<ChunkLocation> Reserve(uint32_t length) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status WriteRecord(const RecordHeader& header,
                           std::span<const std::span<const std::byte>> parts);
  // The first failure ends the writer; returns it, now and ever after.
  absl::Status Die(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);

  PackDirectory* const packs_;
  BufferPool* const buffers_;
  const PackId id_;
  const std::unique_ptr<os::File> file_;

  mutable absl::Mutex mutex_;
  absl::Status dead_ ABSL_GUARDED_BY(mutex_);
  uint64_t size_ ABSL_GUARDED_BY(mutex_) = kPackHeaderBytes;
  uint64_t durable_size_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace ckptd
