// File systems of a test's own, where the machine permits it.
#pragma once

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include <fmt/format.h>

namespace ckpt::test {

// A tmpfs at a directory, seen by the calling thread and the processes that it
// starts; unmounted with the object.
class Tmpfs {
 public:
  Tmpfs(std::string directory, uint64_t bytes) : directory_(std::move(directory)) {
    std::filesystem::create_directories(directory_);
    // In a chroot "/" is no mount point and cannot be made private; then the
    // mount is seen by others until it is taken away again.
    if (unshare(CLONE_NEWNS) == 0) mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    mounted_ =
        mount("tmpfs", directory_.c_str(), "tmpfs", 0, fmt::format("size={}", bytes).c_str()) == 0;
    if (!mounted_) why_ = std::strerror(errno);
  }
  Tmpfs(const Tmpfs&) = delete;
  Tmpfs& operator=(const Tmpfs&) = delete;
  ~Tmpfs() {
    if (mounted_) umount2(directory_.c_str(), MNT_DETACH);
  }

  bool mounted() const { return mounted_; }
  const std::string& why() const { return why_; }  // it is not
  const std::string& directory() const { return directory_; }
  bool MakeReadOnly() const {
    return mount(nullptr, directory_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }

 private:
  std::string directory_, why_;
  bool mounted_ = false;
};

}  // namespace ckpt::test

// For a test that needs `tmpfs`.
#define CKPT_NEEDS_MOUNT(tmpfs) \
  if (!(tmpfs).mounted())       \
  GTEST_SKIP() << "mounting a tmpfs is not permitted here: " << (tmpfs).why()
