#include "client/ckptctl/files/zip_writer.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>
#include <map>

namespace ckpt::ctl {
namespace {

// Keeps what was written, sparsely, so that files of many GiB cost nothing.
class MemoryFile final : public OutputFile {
 public:
  absl::Status WriteAt(uint64_t offset, std::span<const std::byte> bytes) override {
    pieces_[offset].assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    end_ = std::max<uint64_t>(end_, offset + bytes.size());
    return absl::OkStatus();
  }
  std::string Read(uint64_t offset, size_t size) const {
    std::string out(size, '\0');
    for (const auto& [begin, bytes] : pieces_) {
      const uint64_t from = std::max(begin, offset);
      const uint64_t to = std::min(begin + bytes.size(), offset + size);
      if (from < to)
        std::memcpy(out.data() + (from - offset), bytes.data() + (from - begin), to - from);
    }
    return out;
  }
  uint64_t end() const { return end_; }

 private:
  std::map<uint64_t, std::string> pieces_;
  uint64_t end_ = 0;
};

uint64_t Number(const std::string& bytes, size_t at, int size) {
  uint64_t value = 0;
  for (int i = 0; i < size; ++i) {
    value |= uint64_t{static_cast<unsigned char>(bytes.at(at + static_cast<size_t>(i)))} << (8 * i);
  }
  return value;
}

TEST(ZipWriter, WritesStoredAlignedRecordsWithTheirChecksums) {
  MemoryFile file;
  ZipWriter zip(&file);
  const size_t a = zip.Add("archive/a", 5);
  const size_t b = zip.Add("archive/b", 0);
  // Bytes may come in pieces, and the later record's first.
  ASSERT_TRUE(zip.Write(b, "").ok());
  ASSERT_TRUE(zip.Write(a, "he").ok());
  ASSERT_TRUE(zip.Write(a, "llo").ok());
  ASSERT_TRUE(zip.Finish().ok());

  EXPECT_EQ(file.end(), zip.total_size());
  const std::string header = file.Read(0, 64);
  EXPECT_EQ(header.substr(0, 4), "PK\x03\x04");
  EXPECT_EQ(Number(header, 8, 2), 0u) << "stored";
  const uint32_t crc = static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>("hello"), 5));
  EXPECT_EQ(Number(header, 14, 4), crc);
  EXPECT_EQ(Number(header, 18, 4), 5u);
  EXPECT_EQ(Number(header, 22, 4), 5u);
  const uint64_t data = 30 + Number(header, 26, 2) + Number(header, 28, 2);
  EXPECT_EQ(data % 64, 0u);
  EXPECT_EQ(file.Read(data, 5), "hello");
  const std::string end = file.Read(file.end() - 22, 22);
  EXPECT_EQ(end.substr(0, 4), "PK\x05\x06");
  EXPECT_EQ(Number(end, 10, 2), 2u) << "records";
}

TEST(ZipWriter, TakesZip64FormsAbove4GiB) {
  constexpr uint64_t kBig = 5ull << 30;
  MemoryFile file;
  ZipWriter zip(&file);
  const size_t big = zip.Add("big", kBig);
  const size_t after = zip.Add("after", 1);
  const uint64_t total = zip.total_size();
  EXPECT_GT(total, kBig);
  ASSERT_TRUE(zip.Write(after, "x").ok());
  // 5 GiB of zeros, 1 GiB at a time, would cost memory here: only the layout
  // is looked at, so Finish must say what is missing.
  EXPECT_FALSE(zip.Write(after, "y").ok()) << "more than announced";
  const absl::Status status = zip.Finish();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_NE(std::string(status.message()).find("'big' has 0 of"), std::string::npos);
  (void)big;
}

}  // namespace
}  // namespace ckpt::ctl
