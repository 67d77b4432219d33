// The only file system calls of the daemon (SQLite's own apart).
//
// Nothing is made durable that was not asked for: SyncData for a file's bytes,
// SyncDir for the names in a directory. Both interfaces are thread-safe.
// Errors are those of daemon/os/error.h and name the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proto/status.h"

namespace ckptd {
struct DiskMetrics;
}

namespace ckptd::os {

// What direct I/O asks of offsets, lengths and addresses; also what PunchHole
// can give back.
inline constexpr size_t kBlockBytes = 4096;

constexpr uint64_t RoundUpToBlock(uint64_t bytes) {
  return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

// Bytes to look at, as long as this lives.
class SharedBytes {
 public:
  virtual ~SharedBytes() = default;
  virtual std::span<const std::byte> bytes() const = 0;
};

// Those in memory of their own.
class OwnBytes final : public SharedBytes {
 public:
  explicit OwnBytes(size_t length)
      : length_(length), memory_(std::make_unique_for_overwrite<std::byte[]>(length)) {}
  std::span<std::byte> memory() { return {memory_.get(), length_}; }
  void Shorten(size_t length) { length_ = length; }
  std::span<const std::byte> bytes() const override { return {memory_.get(), length_}; }

 private:
  size_t length_;
  const std::unique_ptr<std::byte[]> memory_;
};

// An open file; closed by the destructor. All calls are positioned, so several
// threads may use one File, on ranges that do not overlap where they write.
class File {
 public:
  virtual ~File() = default;

  virtual const std::string& path() const = 0;

  // Writes all of `bytes`, or fails with an unknown part of it written. Where
  // the file came from CreateForAppend, offset, length and address must be
  // multiples of kBlockBytes.
  virtual absl::Status Write(uint64_t offset, std::span<const std::byte> bytes) = 0;

  // Begins what Write does. `done` gets what Write would have returned: once,
  // from any thread, possibly before StartWrite returns; it must not wait for
  // another write. Several may be under way; none is ordered after another.
  // Until `done` is called the bytes must stay as they are and the file open;
  // SyncData and Size know only of the writes that are done.
  using WriteDone = std::function<void(const absl::Status&)>;
  virtual void StartWrite(uint64_t offset, std::span<const std::byte> bytes, WriteDone done) {
    done(Write(offset, bytes));
  }

  // Takes disk space up to `size` and makes the file that long; what was not
  // written reads as zeros. Direct writes that lengthen a file go one at a
  // time, those within it side by side. False, and nothing changed, where the
  // file system cannot. Waits for the writes under way.
  virtual absl::StatusOr<bool> Allocate(uint64_t size) = 0;

  // Reads until `out` is full or the file ends; the number of bytes read.
  virtual absl::StatusOr<size_t> Read(uint64_t offset, std::span<std::byte> out) = 0;
  // As Read, but where it can without a copy: the page cache's own memory. What is
  // written to the range or punched out of it meanwhile shows then, and a page that
  // the kernel took back and the disk gives no more reads as zeros.
  virtual absl::StatusOr<std::unique_ptr<SharedBytes>> View(uint64_t offset, size_t length);

  // fdatasync. After a failure the file's unsynced bytes may be lost while a
  // second call succeeds: never try again (DESIGN.md, decision 4).
  virtual absl::Status SyncData() = 0;

  virtual absl::Status Truncate(uint64_t size) = 0;

  // Gives the blocks of the range back; it reads as zeros from then on. Where
  // the file system has no holes this is OK, changes nothing, and the log says
  // so once.
  virtual absl::Status PunchHole(uint64_t offset, uint64_t length) = 0;

  virtual absl::StatusOr<uint64_t> Size() = 0;
  // Blocks that the file takes on disk; holes are not counted.
  virtual absl::StatusOr<uint64_t> AllocatedBytes() = 0;

  // Hints that never fail: the range will be read soon; later reads should
  // come from the disk and not from memory (call SyncData first).
  virtual void Prefetch(uint64_t offset, uint64_t length) = 0;
  virtual void DropCache() = 0;
};

// Held until destroyed, or until the process ends in whatever way.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // A new file (ALREADY_EXISTS otherwise), to be written in whole blocks with
  // direct I/O. Where the file system takes none, through the page cache, and
  // the log says so once.
  virtual absl::StatusOr<std::unique_ptr<File>> CreateForAppend(const std::string& path) = 0;
  // An existing file through the page cache; ForUpdate takes every call.
  virtual absl::StatusOr<std::unique_ptr<File>> OpenForRead(const std::string& path) = 0;
  virtual absl::StatusOr<std::unique_ptr<File>> OpenForUpdate(const std::string& path) = 0;
  // An existing file, to read what the disk holds: past the page cache, which is
  // left as it is. Offset, length and address of a read must be multiples of
  // kBlockBytes. Where the file system takes no direct I/O, through the page
  // cache, emptied of this file first.
  virtual absl::StatusOr<std::unique_ptr<File>> OpenDirect(const std::string& path) = 0;

  // Makes creations, renames and removals in `dir` durable.
  virtual absl::Status SyncDir(const std::string& dir) = 0;
  // Creates what is missing of `dir`, mode 0750. Returns the directories that
  // got a new entry, outermost first: those to SyncDir.
  virtual absl::StatusOr<std::vector<std::string>> CreateDirs(const std::string& dir) = 0;
  // The names in `dir`, sorted, without "." and "..".
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& dir) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;
  // In the same file system; replaces `to` where there is one. Durable after the
  // SyncDir of both folders.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;

  virtual absl::StatusOr<uint64_t> AllocatedBytes(const std::string& path) = 0;
  // What an unprivileged writer could still take on the file system of `path`.
  virtual absl::StatusOr<uint64_t> FreeBytes(const std::string& path) = 0;

  // OK when a file could be made in `dir`, as far as permissions and the way the
  // file system is mounted say; makes none.
  virtual absl::Status CheckWritable(const std::string& dir) = 0;

  // FAILED_PRECONDITION/DIRECTORY_LOCKED, naming the process that holds it.
  // Creates the file, which is never removed.
  virtual absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;

  // A small file as a whole. ReplaceFile is atomic, and durable when it
  // returns: whatever happens, `path` has the old or the new contents.
  virtual absl::StatusOr<std::string> ReadFile(const std::string& path) = 0;
  virtual absl::Status ReplaceFile(const std::string& path, std::string_view contents) = 0;
};

// How StartWrite is carried out on a file from CreateForAppend.
enum class WriteMode {
  kAuto,   // io_uring; kPlain where the kernel refuses it, and the log says so
  kPlain,  // by a few threads that write
};
// Its files may outlive it. `metrics` (may be null) counts what the disk does,
// and must outlive them.
std::unique_ptr<FileSystem> NewRealFileSystem(WriteMode mode = WriteMode::kAuto,
                                              DiskMetrics* metrics = nullptr);

// The part of `path` before its last component; "." where there is none.
std::string ParentDir(const std::string& path);

}  // namespace ckptd::os
