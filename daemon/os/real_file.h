// A file of the kernel, and the descriptor that it owns. Internal to daemon/os.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "daemon/metrics/metrics.h"
#include "daemon/os/file_system.h"
#include "daemon/os/write_queue.h"

namespace ckptd::os {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor();

  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_;
};

// open(2) with O_CLOEXEC, tried again on EINTR; errno is left as it was set.
FileDescriptor OpenDescriptor(const std::string& path, int flags, int mode = 0640);

// `queue` carries out StartWrite; without one it is Write. `metrics` (may be
// null) counts what the disk does, and must outlive the file.
std::unique_ptr<File> NewRealFile(FileDescriptor fd, std::string path, DiskMetrics* metrics,
                                  std::shared_ptr<WriteQueue> queue = nullptr);

}  // namespace ckptd::os
