#include "daemon/os/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <utility>

#include <absl/base/call_once.h>
#include <absl/strings/ascii.h>
#include "daemon/os/error.h"
#include "daemon/os/real_file.h"

namespace ckptd::os {
namespace {

class RealFileLock final : public FileLock {
 public:
  explicit RealFileLock(FileDescriptor fd) : fd_(std::move(fd)) {}

 private:
  const FileDescriptor fd_;  // closing it releases the lock
};

std::span<const std::byte> AsBytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class RealFileSystem final : public FileSystem {
 public:
  RealFileSystem(WriteMode mode, DiskMetrics* metrics) : mode_(mode), metrics_(metrics) {}

  absl::StatusOr<std::unique_ptr<File>> CreateForAppend(const std::string& path) override {
    constexpr int kFlags = O_RDWR | O_CREAT | O_EXCL;
    FileDescriptor fd;
    if (direct_.load(std::memory_order_relaxed)) {
      fd = OpenDescriptor(path, kFlags | O_DIRECT);
      if (!fd.ok() && errno == EINVAL) {
        // The file system creates the file before it refuses the flag.
        if (unlink(path.c_str()) != 0 && errno != ENOENT) {
          return ErrnoError(errno, "remove", path);
        }
        if (direct_.exchange(false)) {
          spdlog::warn(
              "the file system of {} takes no direct I/O: packs are written through the page "
              "cache",
              path);
        }
      } else if (!fd.ok()) {
        return ErrnoError(errno, "create", path);
      }
    }
    if (!fd.ok()) fd = OpenDescriptor(path, kFlags);
    if (!fd.ok()) return ErrnoError(errno, "create", path);
    absl::call_once(queue_made_, [this] { queue_ = NewWriteQueue(mode_); });
    return NewRealFile(std::move(fd), path, metrics_, queue_);
  }

  absl::StatusOr<std::unique_ptr<File>> OpenForRead(const std::string& path) override {
    return Open(path, O_RDONLY);
  }

  absl::StatusOr<std::unique_ptr<File>> OpenForUpdate(const std::string& path) override {
    return Open(path, O_RDWR);
  }

  absl::StatusOr<std::unique_ptr<File>> OpenDirect(const std::string& path) override {
    FileDescriptor fd = OpenDescriptor(path, O_RDONLY | O_DIRECT);
    if (fd.ok()) return NewRealFile(std::move(fd), path, metrics_);
    if (errno != EINVAL) return ErrnoError(errno, "open", path);
    ASSIGN_OR_RETURN(std::unique_ptr<File> file, OpenForRead(path));
    file->DropCache();
    return file;
  }

  absl::Status SyncDir(const std::string& dir) override {
    const FileDescriptor fd = OpenDescriptor(dir, O_RDONLY | O_DIRECTORY);
    if (!fd.ok()) return ErrnoError(errno, "open", dir);
    const Stopwatch watch;
    const int error = fsync(fd.get()) == 0 ? 0 : errno;
    if (metrics_ != nullptr) {
      metrics_->name_sync_seconds.Observe(watch.Elapsed());
      if (error != 0) metrics_->errors.Add();
    }
    return error == 0 ? absl::OkStatus() : ErrnoError(error, "sync", dir);
  }

  absl::StatusOr<std::vector<std::string>> CreateDirs(const std::string& dir) override {
    std::vector<std::string> missing;  // innermost first
    for (std::string at = dir;; at = ParentDir(at)) {
      struct stat st;
      if (stat(at.c_str(), &st) == 0) {
        if (!S_ISDIR(st.st_mode)) return ErrnoError(ENOTDIR, "create directory", at);
        break;
      }
      if (errno != ENOENT) return ErrnoError(errno, "create directory", at);
      missing.push_back(at);
      if (ParentDir(at) == at) break;
    }
    std::vector<std::string> changed;
    for (auto it = missing.rbegin(); it != missing.rend(); ++it) {
      // Another thread may have been quicker.
      if (mkdir(it->c_str(), 0750) != 0 && errno != EEXIST) {
        return ErrnoError(errno, "create directory", *it);
      }
      changed.push_back(ParentDir(*it));
    }
    return changed;
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& dir) override {
    DIR* stream = opendir(dir.c_str());
    if (stream == nullptr) return ErrnoError(errno, "list", dir);
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = readdir(stream)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
      errno = 0;
    }
    const int error = errno;
    closedir(stream);
    if (error != 0) return ErrnoError(error, "list", dir);
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::Status Remove(const std::string& path) override {
    if (unlink(path.c_str()) != 0) return ErrnoError(errno, "remove", path);
    return absl::OkStatus();
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) != 0) return ErrnoError(errno, "rename", from);
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> AllocatedBytes(const std::string& path) override {
    struct stat st;
    if (stat(path.c_str(), &st) != 0) return ErrnoError(errno, "stat", path);
    return static_cast<uint64_t>(st.st_blocks) * 512;
  }

  absl::StatusOr<uint64_t> FreeBytes(const std::string& path) override {
    struct statvfs st;
    if (statvfs(path.c_str(), &st) != 0) return ErrnoError(errno, "stat", path);
    return static_cast<uint64_t>(st.f_bavail) * st.f_frsize;
  }

  absl::Status CheckWritable(const std::string& dir) override {
    if (access(dir.c_str(), W_OK | X_OK) != 0) return ErrnoError(errno, "write to", dir);
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    // flock and not fcntl: it belongs to this open file, so closing another
    // descriptor of the same file elsewhere in the process does not drop it.
    FileDescriptor fd = OpenDescriptor(path, O_RDWR | O_CREAT);
    if (!fd.ok()) return ErrnoError(errno, "open", path);
    while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK) return ErrnoError(errno, "lock", path);
      absl::StatusOr<std::string> holder = ReadFile(path);
      const std::string pid =
          holder.ok() ? std::string(absl::StripAsciiWhitespace(*holder)) : std::string();
      return ckpt::MakeError(
          absl::StatusCode::kFailedPrecondition, ckpt::reason::kDirectoryLocked,
          fmt::format("{} is held by another process ({}): stop it, or use another data directory",
                      path, pid.empty() ? "unknown pid" : "pid " + pid));
    }
    const std::string pid = fmt::format("{}\n", getpid());
    if (ftruncate(fd.get(), 0) != 0 ||
        pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
      // The lock holds; only who holds it would not be known. But a directory
      // that takes no six bytes is not one to start on.
      return ErrnoError(errno, "write", path);
    }
    return std::make_unique<RealFileLock>(std::move(fd));
  }

  absl::StatusOr<std::string> ReadFile(const std::string& path) override {
    ASSIGN_OR_RETURN(std::unique_ptr<File> file, OpenForRead(path));
    ASSIGN_OR_RETURN(const uint64_t size, file->Size());
    std::string contents(size, '\0');
    ASSIGN_OR_RETURN(const size_t read, file->Read(0, std::as_writable_bytes(std::span(contents))));
    contents.resize(read);
    return contents;
  }

  absl::Status ReplaceFile(const std::string& path, std::string_view contents) override {
    const std::string temporary = path + ".tmp";
    if (absl::Status status = WriteDurably(temporary, contents); !status.ok()) {
      unlink(temporary.c_str());
      return status;
    }
    if (rename(temporary.c_str(), path.c_str()) != 0) {
      const int error = errno;
      unlink(temporary.c_str());
      return ErrnoError(error, "replace", path);
    }
    return SyncDir(ParentDir(path));
  }

 private:
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path, int flags) {
    FileDescriptor fd = OpenDescriptor(path, flags);
    if (!fd.ok()) return ErrnoError(errno, "open", path);
    return NewRealFile(std::move(fd), path, metrics_);
  }

  absl::Status WriteDurably(const std::string& path, std::string_view contents) {
    ASSIGN_OR_RETURN(std::unique_ptr<File> file, Open(path, O_WRONLY | O_CREAT | O_TRUNC));
    RETURN_IF_ERROR(file->Write(0, AsBytes(contents)));
    return file->SyncData();
  }

  const WriteMode mode_;
  DiskMetrics* const metrics_;
  absl::once_flag queue_made_;
  std::shared_ptr<WriteQueue> queue_;  // made with the first file that needs it
  std::atomic<bool> direct_ = true;    // until the file system refuses
};

}  // namespace

absl::StatusOr<std::unique_ptr<SharedBytes>> File::View(uint64_t offset, size_t length) {
  auto bytes = std::make_unique<OwnBytes>(length);
  ASSIGN_OR_RETURN(const size_t read, Read(offset, bytes->memory()));
  bytes->Shorten(read);
  return bytes;
}

std::unique_ptr<FileSystem> NewRealFileSystem(WriteMode mode, DiskMetrics* metrics) {
  return std::make_unique<RealFileSystem>(mode, metrics);
}

std::string ParentDir(const std::string& path) {
  size_t end = path.size();
  while (end > 1 && path[end - 1] == '/') --end;
  const size_t slash = path.rfind('/', end - 1);
  if (end == 0 || slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace ckptd::os
