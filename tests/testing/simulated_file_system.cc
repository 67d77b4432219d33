#include "tests/testing/simulated_file_system.h"

#include <cerrno>

#include <fmt/format.h>

#include "daemon/os/error.h"

namespace ckptd::os {
namespace {

absl::Status Result(int error, const char* action, const std::string& path) {
  return error == 0 ? absl::OkStatus() : ErrnoError(error, action, path);
}

class SimulatedFile final : public File {
 public:
  SimulatedFile(std::unique_ptr<SimulatedDisk::OpenFile> file, std::string path)
      : file_(std::move(file)), path_(std::move(path)) {}

  const std::string& path() const override { return path_; }

  absl::Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    return Result(file_->Write(offset, bytes), "write", path_);
  }
  absl::StatusOr<bool> Allocate(uint64_t size) override {
    RETURN_IF_ERROR(Result(file_->Allocate(size), "allocate", path_));
    return true;
  }
  absl::StatusOr<size_t> Read(uint64_t offset, std::span<std::byte> out) override {
    size_t read = 0;
    RETURN_IF_ERROR(Result(file_->Read(offset, out, &read), "read", path_));
    return read;
  }
  absl::Status SyncData() override { return Result(file_->Sync(), "sync", path_); }
  absl::Status Truncate(uint64_t size) override {
    return Result(file_->Truncate(size), "truncate", path_);
  }
  absl::Status PunchHole(uint64_t offset, uint64_t length) override {
    return Result(file_->Punch(offset, length), "punch", path_);
  }
  absl::StatusOr<uint64_t> Size() override {
    uint64_t size = 0;
    RETURN_IF_ERROR(Result(file_->Size(&size), "stat", path_));
    return size;
  }
  absl::StatusOr<uint64_t> AllocatedBytes() override {
    uint64_t bytes = 0;
    RETURN_IF_ERROR(Result(file_->AllocatedBytes(&bytes), "stat", path_));
    return bytes;
  }
  void Prefetch(uint64_t, uint64_t) override {}
  void DropCache() override {}

 private:
  const std::unique_ptr<SimulatedDisk::OpenFile> file_;
  const std::string path_;
};

class SimulatedLock final : public FileLock {
 public:
  SimulatedLock(SimulatedDisk& disk, std::string path) : disk_(disk), path_(std::move(path)) {}
  ~SimulatedLock() override { disk_.Unlock(path_); }

 private:
  SimulatedDisk& disk_;
  const std::string path_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<File>> SimulatedFileSystem::Open(const std::string& path,
                                                                const char* action,
                                                                SimulatedDisk::OpenHow how) {
  std::unique_ptr<SimulatedDisk::OpenFile> file;
  RETURN_IF_ERROR(Result(disk_.Open(path, how, &file), action, path));
  return std::make_unique<SimulatedFile>(std::move(file), path);
}

absl::StatusOr<std::unique_ptr<File>> SimulatedFileSystem::CreateForAppend(
    const std::string& path) {
  return Open(path, "create", {.create = true, .exclusive = true});
}
absl::StatusOr<std::unique_ptr<File>> SimulatedFileSystem::OpenForRead(const std::string& path) {
  return Open(path, "open", {});
}
absl::StatusOr<std::unique_ptr<File>> SimulatedFileSystem::OpenForUpdate(const std::string& path) {
  return Open(path, "open", {});
}

absl::Status SimulatedFileSystem::SyncDir(const std::string& dir) {
  return Result(disk_.SyncDir(dir), "sync", dir);
}

absl::StatusOr<std::vector<std::string>> SimulatedFileSystem::CreateDirs(const std::string& dir) {
  std::vector<std::string> changed;
  RETURN_IF_ERROR(Result(disk_.MakeDirs(dir, &changed), "create directory", dir));
  return changed;
}

absl::StatusOr<std::vector<std::string>> SimulatedFileSystem::List(const std::string& dir) {
  std::vector<std::string> names;
  RETURN_IF_ERROR(Result(disk_.List(dir, &names), "list", dir));
  return names;
}

absl::Status SimulatedFileSystem::Rename(const std::string& from, const std::string& to) {
  return Result(disk_.Rename(from, to), "rename", from);
}

absl::Status SimulatedFileSystem::Remove(const std::string& path) {
  return Result(disk_.Remove(path), "remove", path);
}

absl::StatusOr<uint64_t> SimulatedFileSystem::AllocatedBytes(const std::string& path) {
  uint64_t bytes = 0;
  RETURN_IF_ERROR(Result(disk_.AllocatedBytes(path, &bytes), "stat", path));
  return bytes;
}

absl::StatusOr<uint64_t> SimulatedFileSystem::FreeBytes(const std::string&) {
  return disk_.FreeBytes();
}

absl::Status SimulatedFileSystem::CheckWritable(const std::string&) { return absl::OkStatus(); }

absl::StatusOr<std::unique_ptr<FileLock>> SimulatedFileSystem::Lock(const std::string& path) {
  const int error = disk_.Lock(path);
  if (error == EWOULDBLOCK) {
    return ckpt::MakeError(absl::StatusCode::kFailedPrecondition, ckpt::reason::kDirectoryLocked,
                           fmt::format("{} is held", path));
  }
  RETURN_IF_ERROR(Result(error, "lock", path));
  return std::make_unique<SimulatedLock>(disk_, path);
}

absl::StatusOr<std::string> SimulatedFileSystem::ReadFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<File> file, OpenForRead(path));
  ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  std::string contents(size, '\0');
  RETURN_IF_ERROR(file->Read(0, std::as_writable_bytes(std::span(contents))).status());
  return contents;
}

absl::Status SimulatedFileSystem::ReplaceFile(const std::string& path, std::string_view contents) {
  const std::string temporary = path + ".tmp";
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<File> file,
                     Open(temporary, "create", {.create = true, .truncate = true}));
    RETURN_IF_ERROR(file->Write(0, std::as_bytes(std::span(contents))));
    RETURN_IF_ERROR(file->SyncData());
  }
  RETURN_IF_ERROR(Result(disk_.Rename(temporary, path), "replace", path));
  return SyncDir(ParentDir(path));
}

}  // namespace ckptd::os
