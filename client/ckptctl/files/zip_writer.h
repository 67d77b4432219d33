// A zip file of stored (uncompressed) records whose bytes come later: sizes
// are given first, so every record's place is known before a byte is there.
//
// Records are aligned to 64 bytes, as torch.save does it so that a file can be
// mapped. Files and records above 4 GiB take the zip64 forms. Checksums are
// put into the headers by Finish.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "client/ckptctl/files/atomic_file.h"
#include "proto/status.h"

namespace ckpt::ctl {

class ZipWriter {
 public:
  // `file` outlives the writer; it is needed from the first Write on.
  explicit ZipWriter(OutputFile* file) : file_(file) {}
  void set_file(OutputFile* file) { file_ = file; }

  // Gives `name` its place after the records before it; returns its index.
  size_t Add(std::string name, uint64_t size);
  // The file's size if nothing more is added.
  uint64_t total_size() const;

  // The next bytes of record `index`; each record's bytes come in order.
  // INTERNAL when they pass the record's size.
  absl::Status Write(size_t index, std::span<const std::byte> bytes);
  absl::Status Write(size_t index, std::string_view bytes);

  // Writes headers and directory; INTERNAL when a record lacks bytes.
  absl::Status Finish();

 private:
  struct Record {
    std::string name;
    uint64_t size = 0;
    uint64_t header_offset = 0;
    uint64_t data_offset = 0;
    uint64_t written = 0;
    uint32_t crc = 0;
  };

  std::string LocalHeader(const Record& record) const;
  std::string Directory() const;

  OutputFile* file_;
  std::vector<Record> records_;
  uint64_t end_ = 0;  // of the last record
};

}  // namespace ckpt::ctl
