// Reading and writing .safetensors by the format's published rules: 8 bytes of
// header length, a JSON header, the tensors' bytes without holes.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proto/model.h"
#include "proto/status.h"

namespace ckpt {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

// A parsed and fully validated header.
struct SafetensorsHeader {
  // In order of their bytes; `offset` is within the data, which begins at
  // `data_begin` of the file.
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;
  uint64_t data_bytes = 0;
};

// `json` is the header without its length; `data_bytes` is how much follows
// it. INVALID_ARGUMENT in one sentence naming the first rule that is broken.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json,
                                                         uint64_t data_bytes);
// Length, JSON and padding, as a file begins. Lays the entries out (sets their
// offsets and their order: by element size, then name, so that all are
// aligned). INVALID_ARGUMENT: no tensor, a dtype that the format lacks, a name
// twice or "__metadata__".
absl::StatusOr<std::string> BuildSafetensorsHeader(
    std::vector<Entry>& entries, const std::map<std::string, std::string>& metadata);

// An open file, read by position: nothing is held but the header. Thread-safe.
class SafetensorsFile {
 public:
  // INVALID_ARGUMENT: not a valid file (cut short, garbage, ...); NOT_FOUND,
  // PERMISSION_DENIED as the system says. Nothing but the header is read.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const SafetensorsHeader& header() const { return header_; }
  // Fills `into` from `offset` of entry `index`.
  absl::Status Read(size_t index, uint64_t offset, std::span<std::byte> into) const;

 private:
  SafetensorsFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  int fd_;
  SafetensorsHeader header_;
};

// Writes a file atomically: under another name beside it, synced and renamed
// by Finish. Without Finish nothing is left behind. Write is thread-safe.
class SafetensorsWriter {
 public:
  // `entries` in any order; offsets are ignored.
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(
      const std::string& path, std::vector<Entry> entries,
      const std::map<std::string, std::string>& metadata);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // `bytes` at `offset` of the entry named so. NOT_FOUND: no such entry.
  absl::Status Write(const std::string& entry, uint64_t offset, std::span<const std::byte> bytes);
  absl::Status Finish();

 private:
  SafetensorsWriter(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}
  std::string path_, temporary_;
  int fd_;
  uint64_t data_begin_ = 0;
  std::map<std::string, Entry> entries_;
};

}  // namespace ckpt
