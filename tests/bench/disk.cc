#include "tests/bench/disk.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tests/bench/common.h"
#include "tests/bench/process.h"

namespace ckpt::bench {
namespace {

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags) : path_(path), fd_(open(path.c_str(), flags)) {
    if (fd_ < 0) Die(fmt::format("{}: {}", path, std::strerror(errno)));
  }
  ~Descriptor() { close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  void Sync() const {
    if (fsync(fd_) != 0) Die(fmt::format("fsync of {}: {}", path_, std::strerror(errno)));
  }

 private:
  std::string path_;
  int fd_;
};

double Fio(const std::string& file, uint64_t bytes, const std::string& direction) {
  const std::string answer = file + ".json";
  Run({.words = {"fio", "--name=raw", "--filename=" + file, "--rw=" + direction,
                 fmt::format("--size={}", bytes), "--bs=2M", "--direct=1", "--ioengine=io_uring",
                 "--iodepth=8", "--end_fsync=1", "--invalidate=1", "--output-format=json",
                 "--output=" + answer},
       .log = file + ".log"});
  std::ifstream in(answer);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  // Warnings may stand before the document.
  const auto json = nlohmann::json::parse(text.substr(text.find('{')));
  return static_cast<double>(bytes) / json["jobs"][0][direction]["bw_bytes"].get<double>();
}

}  // namespace

void Settle(const std::string& directory) {
  if (syncfs(Descriptor(directory, O_RDONLY | O_DIRECTORY).get()) != 0) {
    Die(fmt::format("syncfs of {}: {}", directory, std::strerror(errno)));
  }
  std::error_code error;
  for (const auto& item : std::filesystem::recursive_directory_iterator(directory, error)) {
    if (!item.is_regular_file(error)) continue;
    // The daemon may have removed it by now.
    const int fd = open(item.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
  }
}

double RawWrite(const std::string& file, uint64_t bytes) {
  std::filesystem::remove(file);
  Settle(std::filesystem::path(file).parent_path().string());
  return Fio(file, bytes, "write");
}

double RawRead(const std::string& file, uint64_t bytes) {
  Settle(std::filesystem::path(file).parent_path().string());
  return Fio(file, bytes, "read");
}

void SyncFile(const std::string& file) {
  Descriptor(file, O_RDONLY | O_CLOEXEC).Sync();
  Descriptor(std::filesystem::path(file).parent_path().string(), O_RDONLY | O_DIRECTORY).Sync();
}

uint64_t DiskBytes(const std::string& directory) {
  uint64_t bytes = 0;
  std::error_code error;
  for (const auto& item : std::filesystem::recursive_directory_iterator(directory, error)) {
    struct stat status;
    if (lstat(item.path().c_str(), &status) == 0) {
      bytes += static_cast<uint64_t>(status.st_blocks) * 512;
    }
  }
  return bytes;
}

}  // namespace ckpt::bench
