#include "daemon/chunks/pack_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "proto/copying.h"

namespace ckptd {
namespace {

// Room is taken from the disk in steps: after a crash, recovery reads what was
// taken and not used.
constexpr uint64_t kAllocationStep = 1 << 30;

}  // namespace

absl::StatusOr<std::unique_ptr<FilePackWriter>> FilePackWriter::Create(PackDirectory* packs,
                                                                       BufferPool* buffers,
                                                                       PackId id,
                                                                       uint64_t expected_bytes) {
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
  return std::unique_ptr<FilePackWriter>(
      new FilePackWriter(packs, buffers, id, expected_bytes, std::move(file)));
}

FilePackWriter::~FilePackWriter() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](int* writes) { return *writes == 0; }, &writes_));
  if (dead_.ok() || durable_size_ != 0) return;
  // Nothing in it may be used, so its room goes back now and without the catalog,
  // which has none for its own writes where it is the disk that is full. A failed
  // allocation keeps what it got, too.
  if (absl::Status cut = file_->Truncate(0); !cut.ok()) {
    spdlog::warn("the room of an abandoned pack is not given back yet: {}",
                 std::string(cut.message()));
  }
  packs_->Measure(id_, *file_);
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
  RETURN_IF_ERROR(status());
  BufferPool::Buffer buffer = buffers_->Acquire();
  const ckpt::Digest actual =
      ckpt::CopyAndHash(parts, buffer.bytes().subspan(kRecordHeaderBytes).data());
  if (actual != digest) {
    return ckpt::BadField("data",
                          fmt::format("the digest of these {} bytes is {}, not {}", length,
                                      actual.Hex(), digest.Hex()),
                          ckpt::reason::kDigestMismatch);
  }
  ASSIGN_OR_RETURN(const ChunkLocation location, Reserve(static_cast<uint32_t>(length)));
  EncodeRecordHeader({.type = RecordType::kChunk,
                      .length = location.length,
                      .pack = id_,
                      .offset = location.offset,
                      .digest = digest},
                     buffer.bytes().first<kRecordHeaderBytes>());
  RETURN_IF_ERROR(StartWrite(std::move(buffer), kRecordHeaderBytes + length, location.offset));
  return location;
}

absl::StatusOr<ChunkLocation> FilePackWriter::AppendEncoded(uint32_t length,
                                                            std::span<const std::byte> encoded) {
  if (encoded.empty() || encoded.size() >= length) {
    return Die(ckpt::BadField(
        "encoded", fmt::format("a chunk of {} bytes is not encoded in {}", length, encoded.size()),
        ckpt::reason::kInternal));
  }
  RETURN_IF_ERROR(status());
  BufferPool::Buffer buffer = buffers_->Acquire();
  const ckpt::Digest digest = ckpt::CopyAndHash(
      std::span(&encoded, 1), buffer.bytes().subspan(kRecordHeaderBytes).data());
  ASSIGN_OR_RETURN(ChunkLocation location, Reserve(static_cast<uint32_t>(encoded.size())));
  EncodeRecordHeader({.type = RecordType::kEncoded,
                      .length = location.length,
                      .pack = id_,
                      .offset = location.offset,
                      .digest = digest},
                     buffer.bytes().first<kRecordHeaderBytes>());
  RETURN_IF_ERROR(
      StartWrite(std::move(buffer), kRecordHeaderBytes + encoded.size(), location.offset));
  location.encoded = location.length;
  location.length = length;
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
  RecordHeader header{.type = RecordType::kNote,
                      .length = location.length,
                      .pack = id_,
                      .offset = location.offset,
                      .digest = ckpt::HashBytes(note)};
  uint64_t offset = location.offset;
  size_t filled = kRecordHeaderBytes;  // of the buffer; only the first has a header
  do {
    BufferPool::Buffer buffer = buffers_->Acquire();
    const std::span<std::byte> bytes = buffer.bytes();
    if (offset == location.offset) EncodeRecordHeader(header, bytes.first<kRecordHeaderBytes>());
    const size_t n = std::min(note.size(), bytes.size() - filled);
    std::memcpy(bytes.data() + filled, note.data(), n);
    note.remove_prefix(n);
    filled += n;
    RETURN_IF_ERROR(StartWrite(std::move(buffer), filled, offset));
    offset += filled;
    filled = 0;
  } while (!note.empty());
  return absl::OkStatus();
}

absl::Status FilePackWriter::MakeDurable() {
  uint64_t size;
  bool too_long;
  {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](int* writes) { return *writes == 0; }, &writes_));
    if (!dead_.ok()) return dead_;
    if (durable_size_ == size_) return absl::OkStatus();
    size = size_;
    too_long = allocated_ > size_;
    allocated_ = 0;
  }
  if (too_long) {
    if (absl::Status status = file_->Truncate(size); !status.ok()) return Die(status);
  }
  if (absl::Status status = file_->SyncData(); !status.ok()) return Die(status);
  if (absl::Status status = packs_->SyncNames(id_); !status.ok()) return Die(status);
  packs_->Measure(id_, *file_);
  absl::MutexLock lock(&mutex_);
  durable_size_ = size;
  return absl::OkStatus();
}

uint64_t FilePackWriter::size() const {
  absl::MutexLock lock(&mutex_);
  return size_;
}

uint64_t FilePackWriter::spare() const {
  absl::MutexLock lock(&mutex_);
  return allocated_ > size_ ? allocated_ - size_ : 0;
}

absl::Status FilePackWriter::status() const {
  absl::MutexLock lock(&mutex_);
  return dead_;
}

absl::Status FilePackWriter::Allocate() {
  const uint64_t size = std::min(expected_size_, size_ + kAllocationStep);
  const absl::StatusOr<bool> allocated = file_->Allocate(size);
  if (!allocated.ok()) return allocated.status();
  can_allocate_ = *allocated;
  if (*allocated) {
    allocated_ = size;
    packs_->Measure(id_, *file_);
  }
  return absl::OkStatus();
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
  const uint64_t end = location.offset + location.extent;
  if (end > allocated_ && end <= expected_size_ && can_allocate_) {
    if (absl::Status status = Allocate(); !status.ok()) return DieLocked(status);
  }
  size_ = end;
  return location;
}

absl::Status FilePackWriter::StartWrite(BufferPool::Buffer buffer, size_t filled,
                                        uint64_t offset) {
  const size_t padded = os::RoundUpToBlock(filled);
  const std::span<std::byte> bytes = buffer.bytes().first(padded);
  std::memset(bytes.data() + filled, 0, padded - filled);
  {
    absl::MutexLock lock(&mutex_);
    if (!dead_.ok()) return dead_;
    ++writes_;
  }
  // std::function wants what it holds to be copyable.
  auto held = std::make_shared<BufferPool::Buffer>(std::move(buffer));
  file_->StartWrite(offset, bytes,
                    [this, held = std::move(held), offset, padded](
                        const absl::Status& status) mutable {
                      held.reset();  // before the writer, and with it the pool, may go
                      WriteDone(status, offset, padded);
                    });
  return status();
}

void FilePackWriter::WriteDone(const absl::Status& status, uint64_t offset, uint64_t length) {
  absl::MutexLock lock(&mutex_);
  if (!status.ok()) {
    DieLocked(status).IgnoreError();  // who calls next is told
  } else if (offset + length > allocated_) {
    packs_->Grow(id_, length);
  }
  --writes_;
}

absl::Status FilePackWriter::Die(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  return DieLocked(status);
}

absl::Status FilePackWriter::DieLocked(const absl::Status& status) {
  if (dead_.ok()) {
    dead_ = ckpt::Annotate(status, fmt::format("pack {:016x} is abandoned", id_));
    spdlog::error("{}", std::string(dead_.message()));
  }
  return dead_;
}

}  // namespace ckptd
