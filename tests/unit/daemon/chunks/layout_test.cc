#include "daemon/chunks/layout.h"

#include <array>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/temp_dir.h"

namespace ckptd {
namespace {

using ::testing::HasSubstr;

TEST(LayoutTest, EverythingHasItsPath) {
  const Layout layout("/data");
  EXPECT_EQ(layout.Format(), "/data/format");
  EXPECT_EQ(layout.Lock(), "/data/lock");
  EXPECT_EQ(layout.Catalog(), "/data/catalog.sqlite");
  EXPECT_EQ(layout.Pack(0x1a2b3c), "/data/packs/3c/00000000001a2b3c.pack");
}

TEST(LayoutTest, OnlyPackNamesAreTakenForPacks) {
  EXPECT_EQ(ParsePackName("00000000001a2b3c.pack"), PackId{0x1a2b3c});
  EXPECT_EQ(ParsePackName("ffffffffffffffff.pack"), PackId{0xffffffffffffffff});
  for (const char* name : {"", ".pack", "1a2b3c.pack", "00000000001A2B3C.pack",
                           "00000000001a2b3c.pack.tmp", "00000000001a2b3c", "00000000001a2b3g.pack",
                           "-0000000001a2b3c.pack", "000000000001a2b3c.pack"}) {
    EXPECT_EQ(ParsePackName(name), std::nullopt) << name;
  }
}

RecordHeader SomeHeader() {
  return {.type = RecordType::kChunk,
          .length = 12345,
          .pack = 0x0123456789abcdef,
          .offset = 77 * os::kBlockBytes,
          .digest = ckpt::HashBytes("some bytes")};
}

TEST(RecordHeaderTest, ComesBackAsItWas) {
  std::array<std::byte, kRecordHeaderBytes> raw;
  RecordHeader note = SomeHeader();
  note.type = RecordType::kNote;
  note.length = 0;
  RecordHeader far = SomeHeader();
  far.offset = kMaxPackBytes - os::kBlockBytes;
  for (const RecordHeader& header : {SomeHeader(), note, far}) {
    EncodeRecordHeader(header, raw);
    EXPECT_EQ(DecodeRecordHeader(raw), header);
  }
}

TEST(RecordHeaderTest, EachFlippedBitIsSeen) {
  std::array<std::byte, kRecordHeaderBytes> raw;
  EncodeRecordHeader(SomeHeader(), raw);
  for (size_t bit = 0; bit < raw.size() * 8; ++bit) {
    raw[bit / 8] ^= std::byte(1 << bit % 8);
    EXPECT_EQ(DecodeRecordHeader(raw), std::nullopt) << "bit " << bit;
    raw[bit / 8] ^= std::byte(1 << bit % 8);
  }
}

TEST(RecordHeaderTest, LengthsThatCannotBeAreRefused) {
  const struct {
    RecordType type;
    uint32_t length;
    bool valid;
  } kCases[] = {
      {RecordType::kChunk, 0, false},
      {RecordType::kChunk, 1, true},
      {RecordType::kChunk, ckpt::kMaxChunkBytes, true},
      {RecordType::kChunk, ckpt::kMaxChunkBytes + 1, false},
      {RecordType::kNote, 0, true},
      {RecordType::kNote, kMaxNoteBytes, true},
      {RecordType::kNote, kMaxNoteBytes + 1, false},
      {RecordType{0}, 1, false},
      {RecordType::kEncoded, 0, false},
      {RecordType::kEncoded, 1, true},
      {RecordType::kEncoded, ckpt::kMaxChunkBytes + 1, false},
      {RecordType{4}, 1, false},
  };
  for (const auto& test : kCases) {
    RecordHeader header = SomeHeader();
    header.type = test.type;
    header.length = test.length;
    std::array<std::byte, kRecordHeaderBytes> raw;
    EncodeRecordHeader(header, raw);  // with a check that is right
    EXPECT_EQ(DecodeRecordHeader(raw).has_value(), test.valid)
        << static_cast<int>(test.type) << ", " << test.length << " bytes";
  }
}

TEST(RecordExtentTest, HoldsHeaderAndPayload) {
  EXPECT_EQ(RecordExtent(0), 4096u);
  EXPECT_EQ(RecordExtent(4032), 4096u);
  EXPECT_EQ(RecordExtent(4033), 8192u);
  EXPECT_EQ(RecordExtent(ckpt::kMaxChunkBytes), (4u << 20) + 4096);
}

TEST(PackHeaderTest, EachFlippedBitIsSeen) {
  std::array<std::byte, kPackHeaderBytes> raw;
  EncodePackHeader(42, raw);
  const auto header = DecodePackHeader(raw);
  ASSERT_TRUE(header.has_value());
  EXPECT_EQ(header->id, 42u);
  EXPECT_EQ(header->version, kPackVersion);
  for (size_t bit = 0; bit < 56 * 8; ++bit) {
    raw[bit / 8] ^= std::byte(1 << bit % 8);
    EXPECT_FALSE(DecodePackHeader(raw).has_value()) << "bit " << bit;
    raw[bit / 8] ^= std::byte(1 << bit % 8);
  }
}

class ClaimDataDirTest : public ::testing::Test {
 protected:
  os::TempDir dir_;
  Layout layout_{dir_ / "deep/data"};
  std::unique_ptr<os::FileSystem> fs_ = os::NewRealFileSystem();
};

TEST_F(ClaimDataDirTest, ANewDirectoryIsCreatedAndMarked) {
  ASSERT_TRUE(ClaimDataDir(fs_.get(), layout_).ok());
  EXPECT_EQ(fs_->ReadFile(layout_.Format()).value_or(""), "ckptd 1\n");
  EXPECT_TRUE(ClaimDataDir(fs_.get(), layout_).ok());  // an old one is taken again
}

TEST_F(ClaimDataDirTest, ItIsClaimedOnce) {
  const auto claimed = ClaimDataDir(fs_.get(), layout_);
  ASSERT_TRUE(claimed.ok()) << claimed.status();
  const absl::Status second = ClaimDataDir(fs_.get(), layout_).status();
  EXPECT_EQ(ckpt::ReasonOf(second), ckpt::reason::kDirectoryLocked) << second;
}

TEST_F(ClaimDataDirTest, AFormatThatIsNotOursIsRefused) {
  ASSERT_TRUE(ClaimDataDir(fs_.get(), layout_).ok());
  const struct {
    const char* format;
    const char* reason;
    const char* text;
  } kCases[] = {
      {"ckptd 2\n", ckpt::reason::kVersionTooNew, "newer"},
      {"ckptd 4294967295\n", ckpt::reason::kVersionTooNew, "newer"},
      {"ckptd 0\n", ckpt::reason::kCatalogDamaged, "does not say"},
      {"ckptd 1", ckpt::reason::kCatalogDamaged, "does not say"},
      {"ckptd one\n", ckpt::reason::kCatalogDamaged, "does not say"},
      {"", ckpt::reason::kCatalogDamaged, "does not say"},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.format);
    ASSERT_TRUE(fs_->ReplaceFile(layout_.Format(), test.format).ok());
    const absl::Status status = ClaimDataDir(fs_.get(), layout_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ckpt::ReasonOf(status), test.reason);
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.text));
    EXPECT_EQ(fs_->ReadFile(layout_.Format()).value_or("?"), test.format);
  }
}

}  // namespace
}  // namespace ckptd
