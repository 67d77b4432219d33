#include "tests/bench/disk.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ckpt::bench {
namespace {

[[noreturn]] void Die(const std::string& text) {
  fmt::print(stderr, "bench: {}\n", text);
  std::exit(1);
}

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

double Fio(const std::string& file, uint64_t bytes, const char* direction) {
  const std::string command = fmt::format(
      "fio --name=raw --filename='{}' --rw={} --size={} --bs=4M --direct=1 --ioengine=libaio "
      "--iodepth=8 --end_fsync=1 --invalidate=1 --output-format=json",
      file, direction, bytes);
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) Die("fio could not be started");
  std::string output;
  std::array<char, 4096> buffer;
  while (const size_t n = fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), n);
  }
  const int status = pclose(pipe);
  if (status != 0) Die(fmt::format("fio failed with status {}: {}", status, command));
  // Warnings may stand before the document.
  const auto json = nlohmann::json::parse(output.substr(output.find('{')));
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
    const int fd = open(item.path().c_str(), O_RDONLY);
    if (fd < 0) continue;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
  }
}

double RawWrite(const std::string& file, uint64_t bytes) {
  std::filesystem::remove(file);
  return Fio(file, bytes, "write");
}

double RawRead(const std::string& file, uint64_t bytes) { return Fio(file, bytes, "read"); }

void SyncFile(const std::string& file) {
  Descriptor(file, O_RDONLY).Sync();
  Descriptor(std::filesystem::path(file).parent_path().string(), O_RDONLY | O_DIRECTORY).Sync();
}

}  // namespace ckpt::bench
