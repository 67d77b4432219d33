// A file system on which things go wrong when a test says so: an operation
// fails, a write is cut short, the power goes.
//
// A started write is counted, and fails or not, when it is started, and is
// done whenever the real file system is. Everything is passed on to a real one. Beside it the blocks are
// remembered as they were when last synced, and the names that no SyncDir has
// made durable, so that a power cut can take back what a disk would lose. Not
// modelled: a removal, a renaming, a truncation and a hole last at once; an allocation is
// lost unless what was written in it is kept; ReplaceFile is
// durable when it returns, as it promises.
#pragma once

#include <cerrno>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/synchronization/mutex.h>

#include "daemon/os/file_system.h"

namespace ckptd::os {

enum class Op {
  kCreate,
  kOpen,
  kRead,
  kWrite,
  kSyncData,
  kSyncDir,
  kTruncate,
  kPunch,
  kRemove,
  kRename,
  kCreateDirs,
  kReplace,
  kAllocate,
};
std::string_view OpName(Op op);

// Thread-safe. Must outlive its files.
class FaultyFileSystem final : public FileSystem {
 public:
  // `real` must outlive this.
  explicit FaultyFileSystem(FileSystem* real) : real_(real) {}

  // The nth operation of a kind from now (1 is the next) fails with `error`
  // and changes nothing. A SyncData that failed leaves its blocks lost, though
  // the next one succeeds: as Linux does.
  void FailNth(Op op, int n, int error = EIO);
  // The nth write from now writes its first `bytes` and fails.
  void ShortenNthWrite(int n, size_t bytes, int error = EIO);
  // The power goes before the nth operation from now that changes or syncs
  // anything: this one and all others fail, until PowerCut.
  void CutPowerAt(int n);
  bool power_is_off() const;

  // What is done to paths with `part` in them neither counts nor fails, but for
  // want of power. Empty: nothing is spared.
  void Spare(std::string part);

  // From now on started writes hang, those that are to fail too, as on a disk
  // that does not answer; until ReleaseWrites, to be called before the files
  // are closed.
  void HoldWrites();
  void ReleaseWrites();
  size_t held_writes() const;
  // Waits for the started writes that do not hang.
  void AwaitWrites();

  // How many of a kind were asked for so far; how many that change or sync.
  int count(Op op) const;
  int changes() const;

  // What FreeBytes answers from now on; nothing: the truth.
  void SetFreeBytes(std::optional<uint64_t> bytes);

  // Takes back what no sync made durable and puts the power on again; files
  // that were open stay dead. An unsynced block stays nevertheless where
  // `kept` says so (a disk may write in any order).
  using KeepBlock = std::function<bool(const std::string& path, uint64_t block)>;
  absl::Status PowerCut(const KeepBlock& kept = nullptr);

  absl::StatusOr<std::unique_ptr<File>> CreateForAppend(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<File>> OpenForRead(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<File>> OpenForUpdate(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<File>> OpenDirect(const std::string& path) override;
  absl::Status SyncDir(const std::string& dir) override;
  absl::StatusOr<std::vector<std::string>> CreateDirs(const std::string& dir) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& dir) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::StatusOr<uint64_t> AllocatedBytes(const std::string& path) override;
  absl::StatusOr<uint64_t> FreeBytes(const std::string& path) override;
  absl::Status CheckWritable(const std::string& dir) override;
  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override;
  absl::StatusOr<std::string> ReadFile(const std::string& path) override;
  absl::Status ReplaceFile(const std::string& path, std::string_view contents) override;

 private:
  friend class FaultyFile;

  struct Fault {
    int error = 0;
    size_t written = 0;  // of a write, before it fails
  };
  // A file's state on the disk, where it differs from what readers see.
  struct Unsynced {
    uint64_t durable_size = 0;
    std::map<uint64_t, std::vector<std::byte>> before;  // by block number
    bool lost = false;                                  // a SyncData has failed
  };

  // Counts the operation; what is to go wrong with it, if anything.
  std::optional<Fault> Begin(Op op, const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status BeginOrFail(Op op, const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Remember(const std::string& path, uint64_t offset, uint64_t length)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Puts the file back to what the disk holds.
  absl::Status Revert(const std::string& path, const Unsynced& unsynced, const KeepBlock& kept)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::unique_ptr<File>> Wrap(absl::StatusOr<std::unique_ptr<File>> file)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  FileSystem* const real_;
  mutable absl::Mutex mutex_;
  std::map<Op, int> counts_ ABSL_GUARDED_BY(mutex_);
  int changes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::pair<Op, int>, Fault> faults_ ABSL_GUARDED_BY(mutex_);  // by the op's count
  std::string spared_ ABSL_GUARDED_BY(mutex_);
  std::optional<int> cut_at_ ABSL_GUARDED_BY(mutex_);                   // a value of changes_
  bool off_ ABSL_GUARDED_BY(mutex_) = false;
  int boots_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, Unsynced> unsynced_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> new_names_ ABSL_GUARDED_BY(mutex_);
  bool holding_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> held_ ABSL_GUARDED_BY(mutex_);
  int under_way_ ABSL_GUARDED_BY(mutex_) = 0;  // started writes in the real file system
  std::optional<uint64_t> free_bytes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ckptd::os
