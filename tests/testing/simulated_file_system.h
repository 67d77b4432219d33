// The daemon's file system on a simulated disk.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/os/file_system.h"
#include "tests/testing/simulated_disk.h"

namespace ckptd::os {

// Thread-safe. `disk` must outlive it and its files.
class SimulatedFileSystem final : public FileSystem {
 public:
  explicit SimulatedFileSystem(SimulatedDisk* disk) : disk_(*disk) {}

  absl::StatusOr<std::unique_ptr<File>> CreateForAppend(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<File>> OpenForRead(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<File>> OpenForUpdate(const std::string& path) override;
  // The kernel writes first what it holds of a file that is read past it.
  absl::StatusOr<std::unique_ptr<File>> OpenDirect(const std::string& path) override {
    return OpenForRead(path);
  }
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
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, const char* action,
                                             SimulatedDisk::OpenHow how);

  SimulatedDisk& disk_;
};

}  // namespace ckptd::os
