// The files under `packs`: which there are, what they take on disk, and
// whether their names are durable.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <absl/synchronization/mutex.h>

#include "daemon/chunks/layout.h"
#include "daemon/os/file_system.h"
#include "proto/status.h"

namespace ckptd {

// Thread-safe.
class PackDirectory {
 public:
  // Creates `packs` durably where it is missing and measures what is there.
  static absl::StatusOr<std::unique_ptr<PackDirectory>> Open(os::FileSystem* fs, Layout layout);

  // ALREADY_EXISTS where the id was used before. The name is not durable yet.
  absl::StatusOr<std::unique_ptr<os::File>> Create(PackId id);
  // NOT_FOUND where there is none. A pack that is missing with the directory it
  // lies in, which is never removed, is UNAVAILABLE to those who read: then it is
  // rather the disk that is not there.
  absl::StatusOr<std::unique_ptr<os::File>> OpenForRead(PackId id);
  absl::StatusOr<std::unique_ptr<os::File>> OpenDirect(PackId id);
  absl::StatusOr<std::unique_ptr<os::File>> OpenForUpdate(PackId id);

  // Makes the pack's name durable, and that of the directory it lies in.
  absl::Status SyncNames(PackId id) ABSL_LOCKS_EXCLUDED(mutex_);

  // Unlinks durably; OK where there is none.
  absl::Status Remove(PackId id) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::StatusOr<std::vector<PackId>> List();

  // Keeps the books of space: asks the file what it takes, or adds what a
  // writer is about to know better.
  void Measure(PackId id, os::File& file) ABSL_LOCKS_EXCLUDED(mutex_);
  void Grow(PackId id, uint64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Usage> GetUsage() ABSL_LOCKS_EXCLUDED(mutex_);

  const Layout& layout() const { return layout_; }

 private:
  PackDirectory(os::FileSystem* fs, Layout layout) : fs_(fs), layout_(std::move(layout)) {}
  absl::StatusOr<std::unique_ptr<os::File>> ToRead(PackId id,
                                                   absl::StatusOr<std::unique_ptr<os::File>> file);
  void SetAllocated(PackId id, uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  os::FileSystem* const fs_;
  const Layout layout_;

  absl::Mutex mutex_;
  std::set<std::string> durable_dirs_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<PackId, uint64_t> allocated_ ABSL_GUARDED_BY(mutex_);
  uint64_t total_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace ckptd
