#include "daemon/store/upload.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "daemon/chunks/layout.h"
#include "daemon/store/errors.h"

namespace ckptd {

using ckpt::Digest;

Upload::Upload(catalog::UploadRow row, ckpt::Manifest manifest,
               std::unordered_set<Digest> missing, OpenPack open_pack, std::string note)
    : row_(std::move(row)),
      manifest_(std::move(manifest)),
      open_pack_(std::move(open_pack)),
      note_(std::move(note)),
      missing_(std::move(missing)) {
  uint64_t bytes = 0;
  // Without the lock: the constructor runs inside a transaction, and Writer
  // begins one with the lock held.
  for (const uint32_t index : FirstOfMissing()) bytes += manifest_.chunks[index].length;
  missing_bytes_ = bytes;
  announced_bytes_ = bytes;
}

std::string Upload::IdOf(int64_t shard_row) { return fmt::format("u{}", shard_row); }

int64_t Upload::RowOf(const std::string& upload_id) {
  int64_t row = 0;
  if (upload_id.size() < 2 || upload_id[0] != 'u') return 0;
  const char* end = upload_id.data() + upload_id.size();
  auto [stop, error] = std::from_chars(upload_id.data() + 1, end, row);
  return error == std::errc() && stop == end && row > 0 ? row : 0;
}

absl::Status Upload::Append(uint32_t index, std::span<const std::span<const std::byte>> parts) {
  if (index >= manifest_.chunks.size()) {
    return ckpt::BadField("chunk_index",
                          fmt::format("chunk {} of upload {} does not exist: its manifest has {}",
                                      index, IdOf(row_.shard_row), manifest_.chunks.size()),
                          ckpt::reason::kBadFrame);
  }
  Touch();
  const ckpt::Chunk& chunk = manifest_.chunks[index];
  uint64_t length = 0;
  for (auto part : parts) length += part.size();
  const auto mismatch = [&] {
    return ckpt::BadField(
        "data",
        fmt::format("the {} bytes sent as chunk {} of upload {} are not those of its digest {} "
                    "({} bytes); send them again", length, index, IdOf(row_.shard_row),
                    chunk.digest.Hex(), chunk.length),
        ckpt::reason::kDigestMismatch);
  };
  // The writer compares digests while it copies; but what is refused must not
  // be what a pack is begun for.
  if (length != chunk.length || (pack() == 0 && ckpt::HashParts(parts) != chunk.digest)) {
    return mismatch();
  }

  absl::ReaderMutexLock phase(&phase_);
  ASSIGN_OR_RETURN(PackWriter * writer, Claim(chunk.digest));
  if (writer == nullptr) {
    return ckpt::HashParts(parts) == chunk.digest ? absl::OkStatus() : mismatch();
  }
  absl::StatusOr<ChunkLocation> location = writer->Append(chunk.digest, parts);
  absl::MutexLock lock(&mutex_);
  in_flight_.erase(chunk.digest);
  if (ckpt::ReasonOf(location.status()) == ckpt::reason::kDigestMismatch) return mismatch();
  if (!location.ok()) {
    dead_ = true;
    return location.status();
  }
  missing_.erase(chunk.digest);
  missing_bytes_ -= chunk.length;
  spare_bytes_ = writer->spare();
  stored_.push_back({chunk.digest, *location});
  return absl::OkStatus();
}

absl::StatusOr<PackWriter*> Upload::Claim(const Digest& digest) {
  absl::MutexLock lock(&mutex_);
  // Another stream may be writing the very same chunk at this moment.
  if (finished_ || !missing_.contains(digest) || !in_flight_.insert(digest).second) return nullptr;
  absl::StatusOr<PackWriter*> writer = Writer();
  if (!writer.ok()) in_flight_.erase(digest);
  return writer;
}

absl::StatusOr<PackWriter*> Upload::Writer() {
  if (writer_ == nullptr) {
    uint64_t expected = RecordExtent(static_cast<uint32_t>(note_.size()));
    for (const uint32_t index : FirstOfMissing()) {
      expected += RecordExtent(manifest_.chunks[index].length);
    }
    absl::StatusOr<std::unique_ptr<PackWriter>> opened = open_pack_(expected);
    if (!opened.ok()) {
      dead_ = true;
      return opened.status();
    }
    writer_ = *std::move(opened);
  }
  return writer_.get();
}

std::vector<uint32_t> Upload::MissingChunks() const {
  absl::MutexLock lock(&mutex_);
  return FirstOfMissing();
}

std::vector<uint32_t> Upload::FirstOfMissing() const {
  std::vector<uint32_t> indices;
  std::unordered_set<Digest> seen;
  for (uint32_t i = 0; i < manifest_.chunks.size(); ++i) {
    const Digest& digest = manifest_.chunks[i].digest;
    if (missing_.contains(digest) && seen.insert(digest).second) indices.push_back(i);
  }
  return indices;
}

absl::Status Upload::Finish() {
  absl::MutexLock phase(&phase_);
  if (finished_) return absl::OkStatus();
  absl::MutexLock lock(&mutex_);
  if (!missing_.empty()) {
    return ckpt::MakeError(absl::StatusCode::kFailedPrecondition, ckpt::reason::kChunksMissing,
                           fmt::format("{} chunks of upload {} have not arrived; open it again to "
                                       "learn which", missing_.size(), IdOf(row_.shard_row)));
  }
  if (writer_ != nullptr) {
    absl::Status status = writer_->AppendNote(note_);
    if (status.ok()) status = writer_->MakeDurable();
    if (!status.ok()) {
      dead_ = true;
      return ckpt::Annotate(status, "the upload's pack could not be made durable; push it again");
    }
  }
  finished_ = true;
  return absl::OkStatus();
}

uint64_t Upload::promised_bytes() const {
  const uint64_t missing = missing_bytes_, spare = spare_bytes_;
  return missing - std::min(missing, spare);
}

PackId Upload::pack() const {
  absl::MutexLock lock(&mutex_);
  return writer_ == nullptr ? 0 : writer_->id();
}

}  // namespace ckptd
