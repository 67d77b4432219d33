// Files and directories that appear whole or not at all: written under a
// temporary name beside the target, synced, renamed, and the folder synced.
//
// Errors: ALREADY_EXISTS when the target is there and may not be replaced,
// NOT_FOUND when its folder is not, RESOURCE_EXHAUSTED when the disk is full,
// PERMISSION_DENIED, else INTERNAL; each names the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "proto/status.h"

namespace ckpt::ctl {

// errno's `error` as a status: "cannot write to 'x.pt': No space left on device".
absl::Status FileError(int error, const std::string& what, const std::string& path);

// One file being written. Not thread-safe, but for WriteAt on ranges that do
// not overlap.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  virtual absl::Status WriteAt(uint64_t offset, std::span<const std::byte> bytes) = 0;
};

class AtomicFile final : public OutputFile {
 public:
  // Creates the temporary; nothing is at `path` before Commit. `size` bytes
  // are reserved where the file system can, so that a full disk says so now.
  // `mode`: who may read it, less the umask.
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(const std::string& path, uint64_t size,
                                                            bool replace, unsigned mode = 0666);
  ~AtomicFile() override;  // without Commit the temporary goes away

  absl::Status WriteAt(uint64_t offset, std::span<const std::byte> bytes) override;
  // Cuts or extends the file to exactly `size`, syncs it and moves it in place.
  absl::Status Commit(uint64_t size);

 private:
  AtomicFile(std::string path, std::string temporary, int fd, bool replace);

  const std::string path_, temporary_;
  const int fd_;
  const bool replace_;
  bool done_ = false;
};

// A directory being filled.
class AtomicDirectory {
 public:
  static absl::StatusOr<std::unique_ptr<AtomicDirectory>> Create(const std::string& path,
                                                                 bool replace);
  ~AtomicDirectory();

  // A new file of `size` bytes; `name` has no slash.
  absl::Status Open(const std::string& name, uint64_t size);
  // Writes to the file opened last.
  absl::Status WriteAt(uint64_t offset, std::span<const std::byte> bytes);
  absl::Status Close();
  absl::Status Commit();

 private:
  AtomicDirectory(std::string path, std::string temporary, bool replace)
      : path_(std::move(path)), temporary_(std::move(temporary)), replace_(replace) {}

  const std::string path_, temporary_;
  const bool replace_;
  std::string name_;  // of the open file
  int fd_ = -1;
  bool done_ = false;
};

}  // namespace ckpt::ctl
