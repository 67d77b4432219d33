#include "daemon/chunks/pack_reader.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "daemon/chunks/errors.h"
#include "daemon/chunks/layout.h"

namespace ckptd {
namespace {

absl::Status CheckBytes(const ckpt::Digest& digest, const ChunkLocation& location,
                        std::span<const std::byte> bytes, bool verify) {
  if (bytes.size() < location.length) {
    return ChunkDamaged(digest, location, "the pack ends within it");
  }
  if (verify && ckpt::HashBytes(bytes.data(), bytes.size()) != digest) {
    return ChunkDamaged(digest, location, "its bytes have another digest");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status PackReader::Read(const ckpt::Digest& digest, const ChunkLocation& location,
                              std::span<std::byte> out, bool verify) {
  if (out.size() != location.length) {
    return ckpt::MakeError(absl::StatusCode::kInternal, ckpt::reason::kInternal,
                           fmt::format("a chunk of {} bytes cannot be read into {} bytes",
                                       location.length, out.size()));
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<os::File> file, OpenRecord(digest, location));
  ASSIGN_OR_RETURN(const size_t bytes, file->Read(location.offset + kRecordHeaderBytes, out));
  return CheckBytes(digest, location, out.first(bytes), verify);
}

absl::StatusOr<std::unique_ptr<os::SharedBytes>> PackReader::View(const ckpt::Digest& digest,
                                                                  const ChunkLocation& location) {
  ASSIGN_OR_RETURN(const std::shared_ptr<os::File> file, OpenRecord(digest, location));
  ASSIGN_OR_RETURN(std::unique_ptr<os::SharedBytes> view,
                   file->View(location.offset + kRecordHeaderBytes, location.length));
  RETURN_IF_ERROR(CheckBytes(digest, location, view->bytes(), /*verify=*/false));
  return view;
}

absl::StatusOr<std::shared_ptr<os::File>> PackReader::OpenRecord(const ckpt::Digest& digest,
                                                                 const ChunkLocation& location) {
  absl::StatusOr<std::shared_ptr<os::File>> file = Open(location.pack);
  if (absl::IsNotFound(file.status())) return ChunkDamaged(digest, location, "the pack is gone");
  if (!file.ok()) return file.status();

  std::array<std::byte, kRecordHeaderBytes> raw;
  ASSIGN_OR_RETURN(const size_t header_bytes, (*file)->Read(location.offset, raw));
  if (header_bytes < raw.size()) return ChunkDamaged(digest, location, "the pack ends before it");
  if (std::ranges::all_of(raw, [](std::byte b) { return b == std::byte{0}; })) {
    return ChunkDamaged(digest, location, "its space was given back");
  }
  const RecordHeader expected{.type = RecordType::kChunk,
                              .length = location.length,
                              .pack = location.pack,
                              .offset = location.offset,
                              .digest = digest};
  if (DecodeRecordHeader(raw) != expected) {
    return ChunkDamaged(digest, location, "its record header does not match");
  }
  return file;
}

void PackReader::Prefetch(std::span<const ChunkLocation> locations) {
  for (const ChunkLocation& location : locations) {
    const absl::StatusOr<std::shared_ptr<os::File>> file = Open(location.pack);
    if (file.ok()) (*file)->Prefetch(location.offset, location.extent);
  }
}

void PackReader::Forget(PackId id) {
  absl::MutexLock lock(&mutex_);
  ++forgotten_;
  const auto it = open_.find(id);
  if (it == open_.end()) return;
  recent_.erase(it->second);
  open_.erase(it);
}

absl::StatusOr<std::shared_ptr<os::File>> PackReader::Open(PackId id) {
  uint64_t forgotten;
  {
    absl::MutexLock lock(&mutex_);
    forgotten = forgotten_;
    if (const auto it = open_.find(id); it != open_.end()) {
      recent_.splice(recent_.begin(), recent_, it->second);
      return it->second->second;
    }
  }
  ASSIGN_OR_RETURN(std::shared_ptr<os::File> file, packs_->OpenForRead(id));
  absl::MutexLock lock(&mutex_);
  if (const auto it = open_.find(id); it != open_.end()) return it->second->second;
  // It may be one that went meanwhile.
  if (forgotten_ != forgotten) return file;
  recent_.emplace_front(id, file);
  open_[id] = recent_.begin();
  if (recent_.size() > max_open_) {
    open_.erase(recent_.back().first);
    recent_.pop_back();
  }
  return file;
}

}  // namespace ckptd
