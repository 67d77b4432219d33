#include "client/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "proto/names.h"

namespace ckpt {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr size_t kLengthBytes = 8;

absl::Status SystemError(const std::string& what, const std::string& path) {
  const int error = errno;
  absl::StatusCode code = absl::StatusCode::kInternal;
  std::string_view why = reason::kIoError;
  if (error == ENOENT || error == ENOTDIR) code = absl::StatusCode::kNotFound;
  if (error == EACCES || error == EPERM || error == EROFS) {
    code = absl::StatusCode::kPermissionDenied;
  }
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    code = absl::StatusCode::kResourceExhausted;
    why = reason::kNoSpace;
  }
  return MakeError(code, why, fmt::format("{} {}: {}", what, path, std::strerror(error)));
}

absl::Status ReadAll(int fd, const std::string& path, uint64_t position,
                     std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = ::pread(fd, into.data(), into.size(), static_cast<off_t>(position));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError("cannot read", path);
    if (got == 0) {
      return MakeError(absl::StatusCode::kDataLoss, reason::kIoError,
                       fmt::format("{} became shorter while it was read", path));
    }
    into = into.subspan(got);
    position += got;
  }
  return absl::OkStatus();
}

absl::Status WriteAll(int fd, const std::string& path, uint64_t position,
                      std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(position));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return SystemError("cannot write", path);
    bytes = bytes.subspan(put);
    position += put;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError("cannot open", path);
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile(path, fd));
  struct stat info;
  if (::fstat(fd, &info) != 0) return SystemError("cannot look at", path);
  const auto bad = [&](const std::string& what) {
    return BadField("file", fmt::format("{} is no whole .safetensors file: {}", path, what));
  };
  if (!S_ISREG(info.st_mode)) return bad("it is not a regular file");
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size < kLengthBytes) {
    return bad(fmt::format("it has {} bytes, fewer than the 8 of the header's length", size));
  }
  uint64_t length = 0;
  RETURN_IF_ERROR(ReadAll(fd, path, 0, std::as_writable_bytes(std::span(&length, 1))));
  if (length > kMaxSafetensorsHeaderBytes) {
    return bad(fmt::format("it says that its header has {} bytes, and at most {} are allowed",
                           length, kMaxSafetensorsHeaderBytes));
  }
  if (length > size - kLengthBytes) {
    return bad(fmt::format("it ends within its header, which has {} bytes", length));
  }
  std::string json(length, '\0');
  RETURN_IF_ERROR(ReadAll(fd, path, kLengthBytes, std::as_writable_bytes(std::span(json))));
  absl::StatusOr<SafetensorsHeader> header =
      ParseSafetensorsHeader(json, size - kLengthBytes - length);
  if (!header.ok()) return bad(std::string(header.status().message()));
  file->header_ = *std::move(header);
  file->header_.data_begin = kLengthBytes + length;
  return file;
}

SafetensorsFile::~SafetensorsFile() { ::close(fd_); }

absl::Status SafetensorsFile::Read(size_t index, uint64_t offset, std::span<std::byte> into) const {
  const Entry& entry = header_.entries[index];
  if (offset > entry.length || into.size() > entry.length - offset) {
    return BadField("offset",
                    fmt::format("bytes {} to {} are not inside entry {}, which has {}", offset,
                                offset + into.size(), Printable(entry.name), entry.length));
  }
  return ReadAll(fd_, path_, header_.data_begin + entry.offset + offset, into);
}

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    const std::string& path, std::vector<Entry> entries,
    const std::map<std::string, std::string>& metadata) {
  ASSIGN_OR_RETURN(const std::string header, BuildSafetensorsHeader(entries, metadata));
  std::string temporary = path + ".XXXXXX";
  const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) return SystemError("cannot create a file beside", path);
  std::unique_ptr<SafetensorsWriter> writer(new SafetensorsWriter(path, temporary, fd));
  // mkostemp makes a private file; the result gets the usual mode.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(fd, 0666 & ~mask);
  uint64_t end = header.size();
  for (Entry& entry : entries) end = std::max(end, header.size() + entry.offset + entry.length);
  // Asked for at once, so that a full disk is known before the transfer. File
  // systems that cannot reserve will say so later.
  if (::fallocate(fd, 0, 0, static_cast<off_t>(end)) != 0 && errno == ENOSPC) {
    return SystemError(fmt::format("no space for {} bytes in", end), path);
  }
  RETURN_IF_ERROR(WriteAll(fd, path, 0, std::as_bytes(std::span(header))));
  writer->data_begin_ = header.size();
  for (Entry& entry : entries) writer->entries_.emplace(entry.name, entry);
  return writer;
}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

absl::Status SafetensorsWriter::Write(const std::string& entry, uint64_t offset,
                                      std::span<const std::byte> bytes) {
  const auto found = entries_.find(entry);
  if (found == entries_.end()) {
    return MakeError(absl::StatusCode::kNotFound, reason::kEntryNotFound,
                     fmt::format("{} has no entry {}", path_, Printable(entry)));
  }
  if (offset > found->second.length || bytes.size() > found->second.length - offset) {
    return BadField("offset",
                    fmt::format("bytes {} to {} are not inside entry {}, which has {}", offset,
                                offset + bytes.size(), Printable(entry), found->second.length));
  }
  return WriteAll(fd_, path_, data_begin_ + found->second.offset + offset, bytes);
}

absl::Status SafetensorsWriter::Finish() {
  if (::fsync(fd_) != 0) return SystemError("cannot sync", path_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return SystemError("cannot rename the finished file to", path_);
  }
  ::close(std::exchange(fd_, -1));
  const size_t slash = path_.rfind('/');
  const std::string directory = slash == std::string::npos ? "."
                                : slash == 0               ? "/"
                                                           : path_.substr(0, slash);
  const int directory_fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory_fd < 0) return SystemError("cannot open", directory);
  const bool synced = ::fsync(directory_fd) == 0 || errno == EINVAL;
  const absl::Status status =
      synced ? absl::OkStatus() : SystemError("cannot sync the directory", directory);
  ::close(directory_fd);
  return status;
}

}  // namespace ckpt
