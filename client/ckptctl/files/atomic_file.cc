#include "client/ckptctl/files/atomic_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>
#include <utility>

#include "proto/names.h"

namespace ckpt::ctl {
namespace fs = std::filesystem;
namespace {

absl::Status Exists(const std::string& path) {
  return MakeError(
      absl::StatusCode::kAlreadyExists, reason::kBadField,
      fmt::format("'{}' exists already; choose another name, or replace it with --force",
                  Printable(path, 400)));
}

std::string TemporaryName(const std::string& path) {
  std::random_device random;
  const fs::path target(path);
  return (target.parent_path() /
          fmt::format(".{}.{:08x}.part", target.filename().string(), random()))
      .string();
}

absl::Status SyncDirectory(const fs::path& directory) {
  const std::string name = directory.empty() ? "." : directory.string();
  const int fd = open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return FileError(errno, "open the folder", name);
  const int result = fsync(fd);
  const int error = errno;
  close(fd);
  // Some network file systems cannot sync a folder and say so.
  if (result != 0 && error != EINVAL && error != ENOTSUP) {
    return FileError(error, "sync the folder", name);
  }
  return absl::OkStatus();
}

absl::Status WriteFully(int fd, uint64_t offset, std::span<const std::byte> bytes,
                        const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return FileError(n < 0 ? errno : EIO, "write to", path);
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

absl::Status Reserve(int fd, uint64_t size, const std::string& path) {
  if (size == 0) return absl::OkStatus();
  const int error = posix_fallocate(fd, 0, static_cast<off_t>(size));
  if (error == ENOSPC || error == EFBIG || error == EDQUOT) {
    return FileError(error, fmt::format("reserve {} bytes for", size), path);
  }
  return absl::OkStatus();  // others: the file system cannot, and writing will tell
}

}  // namespace

absl::Status FileError(int error, const std::string& what, const std::string& path) {
  absl::StatusCode code = absl::StatusCode::kInternal;
  std::string_view why = reason::kIoError;
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      code = absl::StatusCode::kNotFound;
      break;
    case EACCES:
    case EPERM:
      code = absl::StatusCode::kPermissionDenied;
      break;
    case EROFS:
      code = absl::StatusCode::kPermissionDenied;
      why = reason::kReadOnly;
      break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      code = absl::StatusCode::kResourceExhausted;
      why = reason::kNoSpace;
      break;
    case EEXIST:
    case ENOTEMPTY:
      return Exists(path);
    default:
      break;
  }
  return MakeError(code, why,
                   fmt::format("cannot {} '{}': {}", what, Printable(path, 400), strerror(error)));
}

// ---- A file -----------------------------------------------------------------

AtomicFile::AtomicFile(std::string path, std::string temporary, int fd, bool replace)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd), replace_(replace) {}

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Create(const std::string& path,
                                                               uint64_t size, bool replace,
                                                               unsigned mode) {
  struct stat info {};
  if (lstat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) {
      return MakeError(absl::StatusCode::kAlreadyExists, reason::kBadField,
                       fmt::format("'{}' is a directory, not a file", Printable(path, 400)));
    }
    if (!replace) return Exists(path);
  }
  const std::string temporary = TemporaryName(path);
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return FileError(errno, "create", path);
  auto file = std::unique_ptr<AtomicFile>(new AtomicFile(path, temporary, fd, replace));
  RETURN_IF_ERROR(Reserve(fd, size, path));
  return file;
}

AtomicFile::~AtomicFile() {
  close(fd_);
  if (!done_) unlink(temporary_.c_str());
}

absl::Status AtomicFile::WriteAt(uint64_t offset, std::span<const std::byte> bytes) {
  return WriteFully(fd_, offset, bytes, path_);
}

absl::Status AtomicFile::Commit(uint64_t size) {
  if (ftruncate(fd_, static_cast<off_t>(size)) != 0) return FileError(errno, "resize", path_);
  if (fsync(fd_) != 0) return FileError(errno, "sync", path_);
  // A file that somebody else put there in the meantime is not replaced unasked.
  int result = renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(),
                         replace_ ? 0 : RENAME_NOREPLACE);
  if (result != 0 && (errno == EINVAL || errno == ENOSYS)) {
    result = rename(temporary_.c_str(), path_.c_str());
  }
  if (result != 0) return FileError(errno, "move the finished file to", path_);
  done_ = true;
  return SyncDirectory(fs::path(path_).parent_path());
}

// ---- A directory ------------------------------------------------------------

absl::StatusOr<std::unique_ptr<AtomicDirectory>> AtomicDirectory::Create(const std::string& given,
                                                                         bool replace) {
  std::string path = given;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  struct stat info {};
  if (lstat(path.c_str(), &info) == 0) {
    if (!S_ISDIR(info.st_mode)) {
      return MakeError(absl::StatusCode::kAlreadyExists, reason::kBadField,
                       fmt::format("'{}' is a file, not a directory", Printable(path, 400)));
    }
    std::error_code error;
    if (!replace && !fs::is_empty(path, error)) return Exists(path);
  }
  const std::string temporary = TemporaryName(path);
  if (mkdir(temporary.c_str(), 0777) != 0) return FileError(errno, "create", path);
  return std::unique_ptr<AtomicDirectory>(new AtomicDirectory(path, temporary, replace));
}

AtomicDirectory::~AtomicDirectory() {
  if (fd_ >= 0) close(fd_);
  std::error_code error;
  if (!done_) fs::remove_all(temporary_, error);
}

absl::Status AtomicDirectory::Open(const std::string& name, uint64_t size) {
  if (fd_ >= 0) RETURN_IF_ERROR(Close());
  name_ = name;
  const std::string path = temporary_ + "/" + name;
  fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) return FileError(errno, "create", path_ + "/" + name);
  return Reserve(fd_, size, path_ + "/" + name);
}

absl::Status AtomicDirectory::WriteAt(uint64_t offset, std::span<const std::byte> bytes) {
  return WriteFully(fd_, offset, bytes, path_ + "/" + name_);
}

absl::Status AtomicDirectory::Close() {
  if (fd_ < 0) return absl::OkStatus();
  const int closed = close(std::exchange(fd_, -1));
  if (closed != 0) return FileError(errno, "write to", path_ + "/" + name_);
  return absl::OkStatus();
}

absl::Status AtomicDirectory::Commit() {
  RETURN_IF_ERROR(Close());
  // One sync for all: an fsync each would take seconds for thousands of files.
  const int directory = open(temporary_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return FileError(errno, "open", path_);
  const int synced = syncfs(directory);
  const int error = errno;
  close(directory);
  if (synced != 0) return FileError(error, "sync", path_);
  // A plain rename replaces an empty directory and nothing else.
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    if (!replace_ || (errno != ENOTEMPTY && errno != EEXIST)) {
      return FileError(errno, "move the finished directory to", path_);
    }
    // Both names change in one step; then the old content is under ours.
    if (renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) != 0) {
      return FileError(errno, "replace", path_);
    }
    std::error_code error;
    fs::remove_all(temporary_, error);
  }
  done_ = true;
  return SyncDirectory(fs::path(path_).parent_path());
}

}  // namespace ckpt::ctl
