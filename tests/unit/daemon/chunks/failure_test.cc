// A file system that fails: the writer is dead from then on, and recovery
// gives whole chunks only.
#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "daemon/chunks/layout.h"
#include "daemon/chunks/pack_store.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/daemon/chunks/written.h"

namespace ckptd {
namespace {

using os::Op;

constexpr PackId kId = 7;

class FailureTest : public ::testing::Test {
 protected:
  FailureTest() { store_ = *OpenPackStore(&fs_, dir_.path()); }

  // Everything asked of a dead writer is refused alike.
  static void ExpectDead(PackWriter& writer, const absl::Status& status) {
    const std::string reason = ckpt::ReasonOf(status);
    for (const absl::Status& later :
         {AppendBytes(writer, RandomBytes(10, 1)).status(), writer.AppendNote("note"),
          writer.MakeDurable(), writer.MakeDurable()}) {
      EXPECT_EQ(later.code(), status.code()) << later;
      EXPECT_EQ(ckpt::ReasonOf(later), reason);
    }
  }

  os::TempDir dir_;
  std::unique_ptr<os::FileSystem> real_ = os::NewRealFileSystem();
  os::FaultyFileSystem fs_{real_.get()};
  std::unique_ptr<ChunkStore> store_;
};

TEST_F(FailureTest, AfterAFailedWriteTheWriterIsDead) {
  const struct {
    int error;
    const char* reason;
  } kErrors[] = {{EIO, ckpt::reason::kIoError},
                 {ENOSPC, ckpt::reason::kNoSpace},
                 {EROFS, ckpt::reason::kReadOnly}};
  PackId id = 0;
  for (const auto& error : kErrors) {
    for (const size_t written : {0, 64, 512, 4096, 5000, 9000}) {
      for (int nth = 1; nth <= 3; ++nth) {
        SCOPED_TRACE(fmt::format("{}: write {} cut after {} bytes", error.reason, nth, written));
        auto writer = MustCreate(*store_, ++id);
        fs_.ShortenNthWrite(nth, written, error.error);
        std::vector<Written> all;
        absl::Status failure;
        for (uint64_t i = 0; failure.ok() && i < 5; ++i) {
          const std::vector<std::byte> bytes = RandomBytes(10000 + i, i);
          const auto location = AppendBytes(*writer, bytes);
          failure = location.status();
          if (location.ok()) all.push_back({bytes, {DigestOf(bytes), *location}});
        }
        ASSERT_EQ(all.size(), static_cast<size_t>(nth - 1));
        EXPECT_EQ(ckpt::ReasonOf(failure), error.reason) << failure;
        ExpectDead(*writer, failure);

        // As after a crash, in which nobody has given the room back.
        const auto pack = store_->RecoverPack(id);
        ASSERT_TRUE(pack.ok()) << pack.status();
        ASSERT_EQ(pack->chunks.size(), all.size());
        for (size_t i = 0; i < all.size(); ++i) {
          EXPECT_EQ(pack->chunks[i].location, all[i].chunk.location);
          ExpectReadable(*store_, all[i]);
        }
      }
    }
  }
}

TEST_F(FailureTest, AWriteThatFailsAfterItsAppendEndsTheWriter) {
  constexpr int kWrites = 6;  // five chunks and a note
  PackId id = 0;
  for (const int error : {EIO, ENOSPC}) {
    for (const size_t written : {0, 4096}) {
      for (int nth = 1; nth <= kWrites; ++nth) {
        SCOPED_TRACE(fmt::format("error {}: write {} cut after {} bytes", error, nth, written));
        auto writer = MustCreate(*store_, ++id);
        fs_.HoldWrites();
        fs_.ShortenNthWrite(nth, written, error);
        std::vector<Written> all;
        for (uint64_t i = 0; i + 1 < kWrites; ++i) {
          all.push_back(MustAppend(*writer, RandomBytes(10000 + i, i)));
        }
        EXPECT_TRUE(writer->AppendNote(std::string(9000, 'n')).ok());
        EXPECT_EQ(fs_.held_writes(), static_cast<size_t>(kWrites));
        // Somebody waits for the writes already.
        absl::Status failure;
        std::thread waiting([&] { failure = writer->MakeDurable(); });
        fs_.ReleaseWrites();
        waiting.join();
        EXPECT_EQ(ckpt::ReasonOf(failure),
                  error == EIO ? ckpt::reason::kIoError : ckpt::reason::kNoSpace);
        ExpectDead(*writer, failure);
        writer.reset();
        // What came after it may be there: whole chunks only.
        const auto pack = store_->RecoverPack(id);
        ASSERT_TRUE(pack.ok()) << pack.status();
        EXPECT_LT(pack->chunks.size() + pack->notes.size(), static_cast<size_t>(kWrites));
        for (const StoredChunk& chunk : pack->chunks) EXPECT_TRUE(ReadBack(*store_, chunk).ok());
      }
    }
  }
}

TEST_F(FailureTest, RoomThatTheDiskCannotGiveEndsTheWriter) {
  auto writer = store_->NewPack(kId, 1 << 20);
  ASSERT_TRUE(writer.ok()) << writer.status();
  fs_.FailNth(Op::kAllocate, 1, ENOSPC);
  const absl::Status failure = AppendBytes(**writer, RandomBytes(10000, 1)).status();
  EXPECT_EQ(ckpt::ReasonOf(failure), ckpt::reason::kNoSpace);
  ExpectDead(**writer, failure);
}

TEST_F(FailureTest, ADiskThatDoesNotAnswerHoldsTheAppendersNotTheMemory) {
  constexpr int kWriters = 3, kChunks = 20;
  fs_.HoldWrites();
  std::atomic<int> appended = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kWriters; ++i) {
    threads.emplace_back([&, i] {
      auto writer = MustCreate(*store_, kId + static_cast<PackId>(i));
      std::vector<Written> all;
      for (int k = 0; k < kChunks; ++k) {
        all.push_back(MustAppend(*writer, RandomBytes(5000, static_cast<uint64_t>(i * 100 + k))));
        ++appended;
      }
      EXPECT_TRUE(writer->MakeDurable().ok());
      for (const Written& written : all) ExpectReadable(*store_, written);
    });
  }
  while (fs_.held_writes() < kWriteBuffers) std::this_thread::yield();
  // Nobody gets further, however long this takes.
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(fs_.held_writes(), kWriteBuffers);
    EXPECT_LE(appended, static_cast<int>(kWriteBuffers));
    std::this_thread::yield();
  }
  fs_.ReleaseWrites();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(appended, kWriters * kChunks);
}

TEST_F(FailureTest, AFailedNoteOrSyncEndsTheWriterToo) {
  const struct {
    const char* what;
    Op op;
    std::function<absl::Status(PackWriter&)> call;
  } kCases[] = {
      {"note", Op::kWrite, [](PackWriter& w) { return w.AppendNote("note"); }},
      {"second write of a long note", Op::kWrite,
       [](PackWriter& w) { return w.AppendNote(std::string(5 << 20, 'n')); }},
      {"data sync", Op::kSyncData, [](PackWriter& w) { return w.MakeDurable(); }},
      {"directory sync", Op::kSyncDir, [](PackWriter& w) { return w.MakeDurable(); }},
  };
  PackId id = 0;
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.what);
    auto writer = MustCreate(*store_, ++id);
    MustAppend(*writer, RandomBytes(10000, 1));
    fs_.FailNth(test.op, std::string(test.what).starts_with("second") ? 2 : 1);
    const absl::Status failure = test.call(*writer);
    EXPECT_EQ(ckpt::ReasonOf(failure), ckpt::reason::kIoError) << failure;
    ExpectDead(*writer, failure);
  }
}

TEST_F(FailureTest, RecoveryDoesNotBelieveWhatAFailedSyncLeftInMemory) {
  auto writer = MustCreate(*store_, kId);
  MustAppend(*writer, RandomBytes(10000, 1));
  ASSERT_TRUE(writer->MakeDurable().ok());
  MustAppend(*writer, RandomBytes(10000, 2));
  fs_.FailNth(Op::kSyncData, 1);
  EXPECT_FALSE(writer->MakeDurable().ok());
  writer.reset();
  const auto pack = store_->RecoverPack(kId);
  ASSERT_TRUE(pack.ok()) << pack.status();
  EXPECT_EQ(pack->chunks.size(), 1u);
}

TEST_F(FailureTest, APackThatCannotBeBegunLeavesNoFile) {
  for (const Op op : {Op::kCreateDirs, Op::kCreate, Op::kWrite}) {
    SCOPED_TRACE(os::OpName(op));
    fs_.FailNth(op, 1, ENOSPC);
    EXPECT_EQ(ckpt::ReasonOf(store_->NewPack(kId).status()), ckpt::reason::kNoSpace);
    EXPECT_THAT(*store_->ListPacks(), ::testing::ElementsAre());
    EXPECT_EQ(store_->GetUsage()->disk_bytes, 0u);
  }
  EXPECT_TRUE(store_->NewPack(kId).ok());  // the id was not used up
}

TEST_F(FailureTest, AFailedRecoveryMayBeRepeated) {
  const struct {
    Op op;
    int nth;
  } kCases[] = {{Op::kOpen, 1},     {Op::kSyncData, 1}, {Op::kRead, 1},   {Op::kRead, 3},
                {Op::kTruncate, 1}, {Op::kSyncData, 2}, {Op::kSyncDir, 1}};
  PackId id = 0;
  for (const auto& test : kCases) {
    SCOPED_TRACE(fmt::format("{} {}", os::OpName(test.op), test.nth));
    std::vector<Written> durable;
    {
      auto writer = MustCreate(*store_, ++id);
      for (uint64_t i = 0; i < 2; ++i) durable.push_back(MustAppend(*writer, RandomBytes(9000, i)));
      ASSERT_TRUE(writer->MakeDurable().ok());
      fs_.ShortenNthWrite(1, 5000);
      EXPECT_FALSE(AppendBytes(*writer, RandomBytes(10000, 3)).ok());
    }
    fs_.FailNth(test.op, test.nth);
    EXPECT_EQ(ckpt::ReasonOf(store_->RecoverPack(id).status()), ckpt::reason::kIoError);
    const auto pack = store_->RecoverPack(id);
    ASSERT_TRUE(pack.ok()) << pack.status();
    EXPECT_EQ(pack->chunks.size(), durable.size());
    for (const Written& written : durable) ExpectReadable(*store_, written);
  }
}

TEST_F(FailureTest, ADeadWritersRoomIsGivenBackAtOnce) {
  for (const Op op : {Op::kWrite, Op::kSyncData}) {
    SCOPED_TRACE(OpName(op));
    const PackId id = kId + static_cast<PackId>(op);
    auto created = store_->NewPack(id, /*expected_bytes=*/64 << 20);
    ASSERT_TRUE(created.ok()) << created.status();
    MustAppend(**created, RandomBytes(10000, 1));
    fs_.AwaitWrites();
    EXPECT_GE(store_->GetUsage()->disk_bytes, 10000u);
    fs_.FailNth(op, 1, ENOSPC);
    (void)AppendBytes(**created, RandomBytes(10000, 2));
    EXPECT_EQ(ckpt::ReasonOf((*created)->MakeDurable()), ckpt::reason::kNoSpace);
    created->reset();
    EXPECT_EQ(store_->GetUsage()->disk_bytes, 0u);
  }
}

TEST_F(FailureTest, FailedReadsPunchesAndRemovalsSaySo) {
  auto writer = MustCreate(*store_, kId);
  const Written written = MustAppend(*writer, RandomBytes(10000, 1));
  ASSERT_TRUE(writer->MakeDurable().ok());
  ExpectReadable(*store_, written);
  const auto& [digest, location] = written.chunk;
  std::vector<std::byte> bytes(location.length);
  for (int nth = 1; nth <= 2; ++nth) {
    fs_.FailNth(Op::kRead, nth);
    EXPECT_EQ(ckpt::ReasonOf(store_->Read(digest, location, bytes, true)), ckpt::reason::kIoError);
    fs_.FailNth(Op::kRead, nth);
    EXPECT_EQ(ckpt::ReasonOf(store_->View(digest, location).status()),
              ckpt::reason::kIoError);
  }
  fs_.FailNth(Op::kPunch, 1);
  EXPECT_EQ(ckpt::ReasonOf(store_->Punch(written.chunk.location)), ckpt::reason::kIoError);
  fs_.FailNth(Op::kRemove, 1, EROFS);
  EXPECT_EQ(ckpt::ReasonOf(store_->RemovePack(kId)), ckpt::reason::kReadOnly);
  ExpectReadable(*store_, written);  // and nothing else has changed
}

}  // namespace
}  // namespace ckptd
