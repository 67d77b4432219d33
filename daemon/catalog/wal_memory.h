// What the connections to one catalog share about its write-ahead log, in
// memory: SQLite's index of the log, and a checksum of each frame.
//
// SQLite would keep the index in a file beside the catalog, where a flipped bit
// leads a reader to another page's frame. One process uses a catalog (the data
// directory is locked), so that memory does as well, and nothing is written.
// The log's own checksums are compared by SQLite only when it recovers the log;
// these are whenever a frame is read.
//
// Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

namespace ckptd::catalog {

class WalIndex {
 public:
  static constexpr int kSlots = 8;  // SQLITE_SHM_NLOCK

  // What one connection holds: a bit for each slot.
  struct Held {
    uint8_t shared = 0, exclusive = 0;
    bool attached = false;
  };

  // Region `number`, of `bytes`, zeroed when it is new; nullptr where it is not
  // there and not to be made.
  volatile void* Region(Held& held, int number, int bytes, bool make);
  // False: another connection holds one of them. A connection asks for no slot
  // that it holds in the other way.
  bool LockShared(Held& held, int slot);
  bool LockExclusive(Held& held, int first, int count);
  void Unlock(Held& held, int first, int count);
  // The last one to leave drops the regions: the next to come recovers the log.
  void Leave(Held& held);

 private:
  absl::Mutex mutex_;
  int attached_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::unique_ptr<std::byte[]>> regions_ ABSL_GUARDED_BY(mutex_);
  std::array<int, kSlots> locks_ ABSL_GUARDED_BY(mutex_) = {};  // -1: exclusive; else how many
};

// Of the bytes that a page takes in the log. Knows where frames lie from the
// log's header, which is written or read first.
class WalSums {
 public:
  // Bytes that were written at `offset`.
  void Written(uint64_t offset, std::span<const std::byte> bytes);
  // False: they were read at `offset` and are not what was written there. What
  // is read of a log from before, whole frames for its recovery, is learnt.
  bool Check(uint64_t offset, std::span<const std::byte> bytes);
  void Truncated(uint64_t size);

 private:
  enum class Part : uint8_t { kNone, kHeader, kPage, kFrame, kPiece };
  struct Place {
    Part part = Part::kNone;
    uint64_t first = 0, last = 0;  // frames
  };
  Place PlaceOf(uint64_t offset, uint64_t length) const;
  void SetHeader(std::span<const std::byte> bytes);
  void Set(uint64_t frame, uint64_t sum) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  std::atomic<uint64_t> page_bytes_ = 0;  // 0: not known yet
  absl::Mutex mutex_;
  std::vector<std::optional<uint64_t>> sums_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ckptd::catalog
