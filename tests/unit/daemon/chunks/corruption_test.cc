// Whatever happens to a pack's bytes is found by reading or by recovery.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "daemon/chunks/layout.h"
#include "daemon/chunks/pack_store.h"
#include "daemon/os/file_system.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/daemon/chunks/written.h"

namespace ckptd {
namespace {

constexpr PackId kId = 7;

// A pack of three chunks, a note between; each test begins with a fresh copy.
class CorruptionTest : public ::testing::Test {
 protected:
  CorruptionTest() {
    store_ = *OpenPackStore(fs_.get(), dir_.path());
    auto writer = MustCreate(*store_, kId);
    chunks_.push_back(MustAppend(*writer, RandomBytes(5000, 1)));
    EXPECT_TRUE(writer->AppendNote("a note").ok());
    chunks_.push_back(MustAppend(*writer, RandomBytes(70'000, 2)));
    chunks_.push_back(MustAppend(*writer, RandomBytes(100, 3)));
    EXPECT_TRUE(writer->MakeDurable().ok());
    pristine_ = *fs_->ReadFile(path_);
  }

  // In place, so that a store that has the pack open sees it.
  void Put(const std::string& contents) {
    std::filesystem::resize_file(path_, contents.size());
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.write(contents.data(), static_cast<std::streamsize>(contents.size()));
    ASSERT_TRUE(file.flush().good());
  }

  void PutFlipped(uint64_t at) {
    std::string contents = pristine_;
    contents[at] = static_cast<char>(contents[at] ^ 0x40);
    Put(contents);
  }

  // Chunks up to the one that is not whole, and not one byte of others.
  void ExpectRecovers(size_t chunks, size_t notes) {
    const auto pack = store_->RecoverPack(kId);
    ASSERT_TRUE(pack.ok()) << pack.status();
    ASSERT_EQ(pack->chunks.size(), chunks);
    EXPECT_EQ(pack->notes.size(), notes);
    EXPECT_EQ(pack->size, std::filesystem::file_size(path_));
    for (size_t i = 0; i < chunks; ++i) {
      EXPECT_EQ(pack->chunks[i].location, chunks_[i].chunk.location);
      ExpectReadable(*store_, chunks_[i]);
    }
    for (size_t i = chunks; i < chunks_.size(); ++i) {
      ExpectDamaged(ReadBack(*store_, chunks_[i].chunk));
    }
  }

  os::TempDir dir_;
  std::unique_ptr<os::FileSystem> fs_ = os::NewRealFileSystem();
  std::unique_ptr<ChunkStore> store_;
  std::vector<Written> chunks_;
  std::string path_ = Layout(dir_.path()).Pack(kId);
  std::string pristine_;
};

TEST_F(CorruptionTest, EachFieldOfARecordHeaderIsChecked) {
  const struct {
    const char* field;
    uint64_t at;
  } kFields[] = {{"magic", 0},   {"type", 4},    {"flags", 5}, {"unused", 6}, {"length", 8},
                 {"offset", 12}, {"digest", 16}, {"pack", 48}, {"check", 56}};
  for (const auto& field : kFields) {
    SCOPED_TRACE(field.field);
    PutFlipped(chunks_[1].chunk.location.offset + field.at);
    ExpectDamaged(ReadBack(*store_, chunks_[1].chunk, nullptr, /*verify=*/false));
    ExpectReadable(*store_, chunks_[2]);
    ExpectRecovers(1, 1);
  }
}

TEST_F(CorruptionTest, EachRegionOfAPayloadIsChecked) {
  const ChunkLocation& at = chunks_[1].chunk.location;
  for (uint64_t byte = 0; byte < at.length; byte += 997) {
    SCOPED_TRACE(byte);
    PutFlipped(at.offset + kRecordHeaderBytes + byte);
    ExpectDamaged(ReadBack(*store_, chunks_[1].chunk));
    EXPECT_TRUE(ReadBack(*store_, chunks_[1].chunk, nullptr, /*verify=*/false).ok());
    ExpectRecovers(1, 1);
  }
}

TEST_F(CorruptionTest, ADamagedNoteEndsThePack) {
  const ChunkLocation& before = chunks_[0].chunk.location;
  for (const uint64_t at : {uint64_t{0}, kRecordHeaderBytes + 2}) {
    SCOPED_TRACE(at);
    PutFlipped(before.offset + before.extent + at);
    ExpectRecovers(1, 0);
  }
}

TEST_F(CorruptionTest, APackCutAnywhereGivesItsWholeRecords) {
  for (uint64_t size = 0; size < pristine_.size(); size += 512) {
    SCOPED_TRACE(fmt::format("cut to {} of {} bytes", size, pristine_.size()));
    Put(pristine_.substr(0, size));
    size_t whole = 0;
    for (const Written& written : chunks_) {
      const ChunkLocation& at = written.chunk.location;
      if (at.offset + at.extent <= size) ++whole;
      const bool readable = at.offset + kRecordHeaderBytes + at.length <= size;
      if (readable) {
        ExpectReadable(*store_, written);
      } else {
        ExpectDamaged(ReadBack(*store_, written.chunk, nullptr, /*verify=*/false));
      }
    }
    const ChunkLocation& first = chunks_[0].chunk.location;
    ExpectRecovers(whole, first.offset + first.extent + 4096 <= size ? 1 : 0);
  }
}

TEST_F(CorruptionTest, ALostPackHeaderIsWrittenAgain) {
  const struct {
    const char* what;
    std::string block;
  } kCases[] = {{"zeros", std::string(4096, '\0')}, {"garbage", std::string(4096, 'x')}};
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.what);
    Put(test.block + pristine_.substr(4096));
    ExpectRecovers(3, 1);
    EXPECT_TRUE(*fs_->ReadFile(path_) == pristine_);
  }
}

TEST_F(CorruptionTest, BlocksOfOtherPacksAreNotTakenForOurs) {
  auto writer = MustCreate(*store_, kId + 1);
  MustAppend(*writer, RandomBytes(5000, 1));
  const std::string other = *fs_->ReadFile(Layout(dir_.path()).Pack(kId + 1));
  Put(pristine_ + other.substr(4096));
  ExpectRecovers(3, 1);
  // Nor a record of the same pack where it does not belong.
  Put(pristine_ + pristine_.substr(4096));
  ExpectRecovers(3, 1);
}

TEST_F(CorruptionTest, ATailOfZerosOrGarbageIsCut) {
  Put(pristine_ + std::string(3 * 4096, '\0'));
  ExpectRecovers(3, 1);
  Put(pristine_ + std::string(5000, 'x'));
  ExpectRecovers(3, 1);
  Put(pristine_ + "x");
  ExpectRecovers(3, 1);
}

TEST_F(CorruptionTest, WhatIsNotOursToCutIsNotTouched) {
  const struct {
    const char* what;
    std::function<void(std::span<std::byte, kPackHeaderBytes>)> write;
    const char* reason;
  } kCases[] = {
      {"another pack's name", [](auto block) { EncodePackHeader(kId + 1, block); },
       ckpt::reason::kChunkDamaged},
      {"a newer version",
       [](auto block) {
         EncodePackHeader(kId, block);
         block[8] = std::byte{2};
         const ckpt::Digest check = ckpt::HashBytes(block.data(), 24);
         std::memcpy(block.data() + 24, check.bytes.data(), check.bytes.size());
       },
       ckpt::reason::kVersionTooNew},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.what);
    std::string contents = pristine_ + "tail";
    test.write(std::as_writable_bytes(std::span(contents)).first<kPackHeaderBytes>());
    Put(contents);
    const auto pack = store_->RecoverPack(kId);
    EXPECT_EQ(ckpt::ReasonOf(pack.status()), test.reason) << pack.status();
    EXPECT_TRUE(*fs_->ReadFile(path_) == contents);
  }
}

}  // namespace
}  // namespace ckptd
