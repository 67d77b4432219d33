// One shard on its way in: what the daemon holds in memory of an upload. The
// catalog's row survives a restart; this is made anew from it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include "daemon/catalog/uploads.h"
#include "daemon/chunks/chunk_store.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckptd {

// Append is thread-safe and may run on several streams at once; Finish waits
// for the Appends under way and lets no further one begin.
class Upload {
 public:
  using OpenPack = std::function<absl::StatusOr<std::unique_ptr<PackWriter>>(uint64_t expected_bytes)>;

  // `missing`: the unique digests that the project lacks. `open_pack` is called
  // at most once, before the first chunk is written, with what the pack will hold. `note`: what the pack is
  // written for, appended when it is finished.
  Upload(catalog::UploadRow row, ckpt::Manifest manifest,
         std::unordered_set<ckpt::Digest> missing, OpenPack open_pack, std::string note);

  const catalog::UploadRow& row() const { return row_; }
  const ckpt::Manifest& manifest() const { return manifest_; }
  static std::string IdOf(int64_t shard_row);
  // 0 for what is no upload id.
  static int64_t RowOf(const std::string& upload_id);

  // One chunk of the manifest, checked against its digest before it is
  // written. A chunk that is not missing (any more) is taken and ignored.
  absl::Status Append(uint32_t index, std::span<const std::span<const std::byte>> parts);

  // Indices of the first occurrence of every digest still missing, ascending.
  std::vector<uint32_t> MissingChunks() const;
  uint64_t missing_bytes() const { return missing_bytes_.load(); }
  // How much was missing when it was opened.
  uint64_t announced_bytes() const { return announced_bytes_; }
  // How much of them the disk has yet to give; takes no lock.
  uint64_t promised_bytes() const;

  // Ends the receiving: CHUNKS_MISSING (and may go on) or everything durable.
  absl::Status Finish();
  // The chunks that this upload wrote, once Finish was OK.
  const std::vector<StoredChunk>& stored() const { return stored_; }
  PackId pack() const;

  // A write or sync failed: the pack can never be used.
  bool dead() const { return dead_.load(); }

  // Somebody has come for it, or brought a chunk.
  void Touch() { used_at_.store(std::chrono::steady_clock::now()); }
  absl::Duration idle() const {
    return absl::FromChrono(std::chrono::steady_clock::now() - used_at_.load());
  }

 private:
  // Whom to give the chunk to; null where it is not wanted (any more).
  absl::StatusOr<PackWriter*> Claim(const ckpt::Digest& digest)
      ABSL_SHARED_LOCKS_REQUIRED(phase_) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<uint32_t> FirstOfMissing() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<PackWriter*> Writer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const catalog::UploadRow row_;
  const ckpt::Manifest manifest_;
  const OpenPack open_pack_;
  const std::string note_;
  uint64_t announced_bytes_ = 0;

  // Held shared by Append, exclusively by Finish.
  absl::Mutex phase_;
  bool finished_ ABSL_GUARDED_BY(phase_) = false;

  mutable absl::Mutex mutex_;
  std::unordered_set<ckpt::Digest> missing_ ABSL_GUARDED_BY(mutex_);
  std::unordered_set<ckpt::Digest> in_flight_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<PackWriter> writer_ ABSL_GUARDED_BY(mutex_);
  std::vector<StoredChunk> stored_;  // guarded by mutex_ until finished
  std::atomic<uint64_t> missing_bytes_ = 0;
  std::atomic<uint64_t> spare_bytes_ = 0;  // that the pack has ahead of its records
  std::atomic<bool> dead_ = false;
  std::atomic<std::chrono::steady_clock::time_point> used_at_ = std::chrono::steady_clock::now();
};

}  // namespace ckptd
