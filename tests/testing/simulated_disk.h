// A disk in memory that forgets, when its power is cut, what was not synced:
// any part of it, in any order, torn at sectors, names in directories included.
// SimulatedFileSystem and SimulatedVfs (SQLite's) stand on the same one, so that
// packs and catalog lose together what a machine would lose.
//
// What lasts is what POSIX promises and no more:
//   a file's bytes, its length, its holes    once it was synced
//   a name that was made, moved or removed   once its directory was synced
// At a cut each 512-byte sector that changed since is as before or as after, so
// are the length and each name; only a move is whole or not at all. After a sync
// that failed the next one succeeds without what the first one lost, as on Linux.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

namespace ckptd::os {

// Thread-safe. Calls return an errno, 0 when all went well. Paths are absolute.
class SimulatedDisk {
 public:
  static constexpr uint64_t kBlockBytes = 4096;
  static constexpr uint64_t kSectorBytes = 512;
  using Random = std::mt19937_64;

  class OpenFile;

  // ---- What a test does to it ----------------------------------------------------

  // The nth operation from now (1 is the next) that changes or syncs anything is
  // the one before which the power goes. From then on every call waits, as if the
  // machine had stopped, until PowerLost lets it fail.
  void CutPowerAt(uint64_t n);
  // Whether the power went, waiting for it up to `limit`.
  bool AwaitCut(absl::Duration limit);
  // The power goes now, if it has not; calls that wait fail.
  void PowerLost();
  // To be called when nobody uses the disk any more: it comes back with what a
  // disk may have kept. Files that were open before stay dead.
  void PowerOn(Random& random);

  // The nth operation from now fails with `error` and changes nothing.
  void FailNth(uint64_t n, int error);
  // What has not failed by now does not.
  void FailNoMore();
  // Operations so far that change or sync.
  uint64_t operations() const;

  // Beyond so many bytes of blocks in all: ENOSPC. Nothing: no bound.
  void SetCapacity(std::optional<uint64_t> bytes);

  struct FileAt {
    std::string path;
    uint64_t size = 0;
    uint64_t allocated = 0;  // bytes of blocks
  };
  std::vector<FileAt> Files() const;
  // Rot: of what is on the disk, and seen at once.
  void FlipBit(const std::string& path, uint64_t bit);
  void CutOff(const std::string& path, uint64_t size);
  void Lose(const std::string& path);

  // Everything as it is, to go back to. Cheap: blocks are shared.
  class Image;
  std::shared_ptr<const Image> Save() const;
  void Load(const Image& image);

  // ---- What a file system asks of it -----------------------------------------------

  struct OpenHow {
    bool create = false;
    bool exclusive = false;  // EEXIST where there is one
    bool truncate = false;
  };
  int Open(const std::string& path, OpenHow how, std::unique_ptr<OpenFile>* file);
  int SyncDir(const std::string& dir);
  // Also what is missing above it; `changed` gets the directories with a new name.
  int MakeDirs(const std::string& dir, std::vector<std::string>* changed);
  int List(const std::string& dir, std::vector<std::string>* names);
  int Remove(const std::string& path);
  int Rename(const std::string& from, const std::string& to);
  bool Exists(const std::string& path);
  int AllocatedBytes(const std::string& path, uint64_t* bytes);
  uint64_t FreeBytes();
  // Of this boot only. EWOULDBLOCK while it is held.
  int Lock(const std::string& path);
  void Unlock(const std::string& path);

 private:
  using Bytes = std::array<std::byte, kBlockBytes>;
  using Block = std::shared_ptr<const Bytes>;
  using Blocks = std::map<uint64_t, Block>;  // by number; one that is not there is a hole
  struct Node {
    bool is_dir = false;
    Blocks now, durable;
    uint64_t size = 0, durable_size = 0;
    std::set<uint64_t> dirty;  // differ from `durable`, maybe
    std::set<uint64_t> lost;   // a sync of them failed
    bool named = true;  // now; the blocks of one without a name are free, if it is open or not
  };
  using Names = std::map<std::string, std::shared_ptr<Node>>;

  // What every operation begins with: waits and fails once the power is gone.
  int Begin(uint64_t boot, bool changes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int Begin(bool changes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return Begin(boot_, changes); }
  bool IsDir(const std::string& path) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Puts `block` (nullptr: a hole) into the file; false where the disk is full.
  bool Put(Node& node, uint64_t number, Block block) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Resize(Node& node, uint64_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // It loses its name.
  void Free(Node& node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<Node> Find(const std::string& path) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Count() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Settle(Node& node, Random& random, int kept_of_ten);
  static void ZeroTail(Node& node);
  static uint64_t BlocksOf(uint64_t bytes);

  mutable absl::Mutex mutex_;
  Names now_ ABSL_GUARDED_BY(mutex_), durable_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> moves_ ABSL_GUARDED_BY(mutex_);  // to, from; not synced
  std::set<std::string> locks_ ABSL_GUARDED_BY(mutex_);
  std::optional<uint64_t> capacity_ ABSL_GUARDED_BY(mutex_);
  uint64_t used_blocks_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t operations_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t cut_at_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, int> failures_ ABSL_GUARDED_BY(mutex_);
  uint64_t boot_ ABSL_GUARDED_BY(mutex_) = 1;
  bool off_ ABSL_GUARDED_BY(mutex_) = false;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;  // those that wait may fail
};

// A file of it. Thread-safe; must not outlive the disk.
class SimulatedDisk::OpenFile {
 public:
  int Read(uint64_t offset, std::span<std::byte> out, size_t* read);
  int Write(uint64_t offset, std::span<const std::byte> bytes);
  int Sync();
  int Truncate(uint64_t size);
  int Allocate(uint64_t size);
  int Punch(uint64_t offset, uint64_t length);
  int Size(uint64_t* size);
  int AllocatedBytes(uint64_t* bytes);

 private:
  friend class SimulatedDisk;
  OpenFile(SimulatedDisk* disk, std::shared_ptr<Node> node, uint64_t boot)
      : disk_(disk), node_(std::move(node)), boot_(boot) {}

  SimulatedDisk* const disk_;
  const std::shared_ptr<Node> node_;
  const uint64_t boot_;
};

class SimulatedDisk::Image {
  friend class SimulatedDisk;
  std::map<std::string, Node> files_;
};

}  // namespace ckptd::os
