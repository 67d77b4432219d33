#include "daemon/os/real_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string_view>

#include "daemon/os/error.h"
#include "daemon/os/mapping.h"

namespace ckptd::os {
namespace {

// The kernel reads at most its read-ahead window (128 KiB by default) for one
// POSIX_FADV_WILLNEED, whatever the length.
constexpr uint64_t kPrefetchStep = 128 << 10;

// A few bytes are copied faster than pages are mapped and taken back.
constexpr size_t kWorthMapping = 64 << 10;

class RealFile final : public File {
 public:
  RealFile(FileDescriptor fd, std::string path, DiskMetrics* metrics,
           std::shared_ptr<WriteQueue> queue)
      : fd_(std::move(fd)), path_(std::move(path)), metrics_(metrics), queue_(std::move(queue)) {}

  const std::string& path() const override { return path_; }

  absl::Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    return Result(WriteFully(fd_.get(), offset, bytes), "write");
  }

  void StartWrite(uint64_t offset, std::span<const std::byte> bytes, WriteDone done) override {
    if (queue_ == nullptr) return done(Write(offset, bytes));
    queue_->Start(fd_.get(), offset, bytes,
                  [this, done = std::move(done)](int error) { done(Result(error, "write")); });
  }

  absl::StatusOr<bool> Allocate(uint64_t size) override {
    while (fallocate(fd_.get(), 0, 0, static_cast<off_t>(size)) != 0) {
      if (errno == EINTR) continue;
      if (errno == EOPNOTSUPP || errno == ENOSYS) return false;
      return ErrnoError(errno, "allocate", path_);
    }
    return true;
  }

  absl::StatusOr<size_t> Read(uint64_t offset, std::span<std::byte> out) override {
    size_t done = 0;
    while (done < out.size()) {
      const ssize_t n =
          pread(fd_.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
      if (n < 0) {
        if (errno == EINTR) continue;
        // Direct I/O that goes on behind the end of a file, which is not where a
        // block ends.
        if (errno == EINVAL && done % kBlockBytes != 0) break;
        return ErrnoError(errno, "read", path_);
      }
      if (n == 0) break;
      done += static_cast<size_t>(n);
    }
    return done;
  }

  absl::StatusOr<std::unique_ptr<SharedBytes>> View(uint64_t offset, size_t length) override {
    if (length >= kWorthMapping) {
      if (std::unique_ptr<SharedBytes> mapped = MapRange(fd_.get(), offset, length)) return mapped;
    }
    return File::View(offset, length);
  }

  absl::Status SyncData() override {
    const Stopwatch watch;
    // Also on EINTR not a second time: what the first call lost stays lost.
    const int error = fdatasync(fd_.get()) == 0 ? 0 : errno;
    if (metrics_ != nullptr) metrics_->data_sync_seconds.Observe(watch.Elapsed());
    return Result(error, "sync");
  }

  absl::Status Truncate(uint64_t size) override {
    while (ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) {
      if (errno != EINTR) return ErrnoError(errno, "truncate", path_);
    }
    return absl::OkStatus();
  }

  absl::Status PunchHole(uint64_t offset, uint64_t length) override {
    while (fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     static_cast<off_t>(offset), static_cast<off_t>(length)) != 0) {
      if (errno == EINTR) continue;
      if (errno != EOPNOTSUPP && errno != ENOSYS) return ErrnoError(errno, "punch", path_);
      static std::atomic<bool> said = false;
      if (!said.exchange(true)) {
        spdlog::warn(
            "the file system of {} cannot punch holes: space comes back only when a whole pack "
            "is no longer needed",
            path_);
      }
      break;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> Size() override {
    struct stat st;
    if (fstat(fd_.get(), &st) != 0) return ErrnoError(errno, "stat", path_);
    return static_cast<uint64_t>(st.st_size);
  }

  absl::StatusOr<uint64_t> AllocatedBytes() override {
    struct stat st;
    if (fstat(fd_.get(), &st) != 0) return ErrnoError(errno, "stat", path_);
    return static_cast<uint64_t>(st.st_blocks) * 512;
  }

  void Prefetch(uint64_t offset, uint64_t length) override {
    for (const uint64_t end = offset + length; offset < end; offset += kPrefetchStep) {
      posix_fadvise(fd_.get(), static_cast<off_t>(offset),
                    static_cast<off_t>(std::min(kPrefetchStep, end - offset)), POSIX_FADV_WILLNEED);
    }
  }

  void DropCache() override { posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED); }

 private:
  absl::Status Result(int error, std::string_view action) const {
    if (error == 0) return absl::OkStatus();
    if (metrics_ != nullptr) metrics_->errors.Add();
    return ErrnoError(error, action, path_);
  }

  const FileDescriptor fd_;
  const std::string path_;
  DiskMetrics* const metrics_;
  const std::shared_ptr<WriteQueue> queue_;
};

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

FileDescriptor OpenDescriptor(const std::string& path, int flags, int mode) {
  int fd;
  do {
    fd = open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return FileDescriptor(fd);
}

std::unique_ptr<File> NewRealFile(FileDescriptor fd, std::string path, DiskMetrics* metrics,
                                  std::shared_ptr<WriteQueue> queue) {
  return std::make_unique<RealFile>(std::move(fd), std::move(path), metrics, std::move(queue));
}

}  // namespace ckptd::os
