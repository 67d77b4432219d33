#include "daemon/chunks/pack_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace ckptd {

absl::StatusOr<std::unique_ptr<FilePackWriter>> FilePackWriter::Create(PackDirectory* packs,
                                                                       BufferPool* buffers,
                                                                       PackId id) {
  ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, packs->Create(id));
  absl::Status written;
  {
    const BufferPool::Buffer buffer = buffers->Acquire();
    const auto block = buffer.bytes().first<kPackHeaderBytes>();
    EncodePackHeader(id, block);
    written = file->Write(0, block);
  }
  if (!written.ok()) {
    if (absl::Status removed = packs->Remove(id); !removed.ok()) {
      spdlog::warn("an empty pack remains: {}", std::string(removed.message()));
    }
    return written;
  }
  packs->Grow(id, kPackHeaderBytes);
  return std::unique_ptr<FilePackWriter>(new FilePackWriter(packs, buffers, id, std::move(file)));
}

absl::StatusOr<ChunkLocation> FilePackWriter::Append(
    const ckpt::Digest& digest, std::span<const std::span<const std::byte>> parts) {
  size_t length = 0;
  for (const auto& part : parts) length += part.size();
  if (length == 0 || length > ckpt::kMaxChunkBytes) {
    return Die(ckpt::BadField(
        "data",
        fmt::format("a chunk has 1 to {} bytes, this one has {}", ckpt::kMaxChunkBytes, length),
        ckpt::reason::kTooLarge));
  }
  ASSIGN_OR_RETURN(const ChunkLocation location, Reserve(static_cast<uint32_t>(length)));
  RETURN_IF_ERROR(WriteRecord({.type = RecordType::kChunk,
                               .length = location.length,
                               .pack = id_,
                               .offset = location.offset,
                               .digest = digest},
                              parts));
  return location;
}

absl::Status FilePackWriter::AppendNote(std::string_view note) {
  if (note.size() > kMaxNoteBytes) {
    return Die(ckpt::BadField(
        "note",
        fmt::format("a note has at most {} bytes, this one has {}", kMaxNoteBytes, note.size()),
        ckpt::reason::kTooLarge));
  }
  ASSIGN_OR_RETURN(const ChunkLocation location, Reserve(static_cast<uint32_t>(note.size())));
  const std::span<const std::byte> part = std::as_bytes(std::span(note.data(), note.size()));
  return WriteRecord({.type = RecordType::kNote,
                      .length = location.length,
                      .pack = id_,
                      .offset = location.offset,
                      .digest = ckpt::HashBytes(note)},
                     std::span(&part, 1));
}

absl::Status FilePackWriter::MakeDurable() {
  {
    absl::MutexLock lock(&mutex_);
    if (!dead_.ok()) return dead_;
    if (durable_size_ == size_) return absl::OkStatus();
  }
  if (absl::Status status = file_->SyncData(); !status.ok()) return Die(status);
  if (absl::Status status = packs_->SyncNames(id_); !status.ok()) return Die(status);
  packs_->Measure(id_, *file_);
  absl::MutexLock lock(&mutex_);
  durable_size_ = size_;
  return absl::OkStatus();
}

uint64_t FilePackWriter::size() const {
  absl::MutexLock lock(&mutex_);
  return size_;
}

absl::StatusOr<ChunkLocation> FilePackWriter::Reserve(uint32_t length) {
  absl::MutexLock lock(&mutex_);
  if (!dead_.ok()) return dead_;
  ChunkLocation location{
      .pack = id_, .offset = size_, .extent = RecordExtent(length), .length = length};
  if (location.offset + location.extent > kMaxPackBytes) {
    dead_ = ckpt::MakeError(absl::StatusCode::kResourceExhausted, ckpt::reason::kTooLarge,
                            fmt::format("pack {:016x} would pass {} bytes: push in smaller shards",
                                        id_, kMaxPackBytes));
    return dead_;
  }
  size_ += location.extent;
  return location;
}

absl::Status FilePackWriter::WriteRecord(const RecordHeader& header,
                                         std::span<const std::span<const std::byte>> parts) {
  const BufferPool::Buffer buffer = buffers_->Acquire();
  const std::span<std::byte> bytes = buffer.bytes();
  uint64_t offset = header.offset;
  EncodeRecordHeader(header, bytes.first<kRecordHeaderBytes>());
  size_t filled = kRecordHeaderBytes;
  for (std::span<const std::byte> part : parts) {
    while (!part.empty()) {
      if (filled == bytes.size()) {  // only a note is longer than a buffer
        if (absl::Status status = file_->Write(offset, bytes); !status.ok()) return Die(status);
        offset += filled;
        filled = 0;
      }
      const size_t n = std::min(part.size(), bytes.size() - filled);
      std::memcpy(bytes.data() + filled, part.data(), n);
      filled += n;
      part = part.subspan(n);
    }
  }
  const size_t padded = os::RoundUpToBlock(filled);
  std::memset(bytes.data() + filled, 0, padded - filled);
  if (absl::Status status = file_->Write(offset, bytes.first(padded)); !status.ok()) {
    return Die(status);
  }
  packs_->Grow(id_, RecordExtent(header.length));
  return absl::OkStatus();
}

absl::Status FilePackWriter::Die(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (dead_.ok()) {
    dead_ = ckpt::Annotate(status, fmt::format("pack {:016x} is abandoned", id_));
    spdlog::error("{}", std::string(dead_.message()));
  }
  return dead_;
}

}  // namespace ckptd
