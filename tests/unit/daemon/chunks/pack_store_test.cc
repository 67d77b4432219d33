// The pack store on a real file system: the suite, and what only packs have.
#include "daemon/chunks/pack_store.h"

#include <sys/stat.h>

#include <fstream>
#include <memory>

#include "daemon/chunks/layout.h"
#include "daemon/os/file_system.h"
#include "tests/testing/temp_dir.h"
#include "tests/unit/daemon/chunks/chunk_store_suite.h"
#include "tests/unit/daemon/chunks/written.h"

namespace ckptd {
namespace {

class PackStoreUnderTest final : public StoreUnderTest {
 public:
  explicit PackStoreUnderTest(os::WriteMode mode = os::WriteMode::kAuto)
      : fs_(os::NewRealFileSystem(mode)) {
    Reopen();
  }
  ChunkStore& store() override { return *store_; }
  void Reopen() override {
    auto store = OpenPackStore(fs_.get(), dir_.path());
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  const std::string& dir() const { return dir_.path(); }

 private:
  os::TempDir dir_;
  const std::unique_ptr<os::FileSystem> fs_;
  std::unique_ptr<ChunkStore> store_;
};

std::unique_ptr<StoreUnderTest> NewPackStore() { return std::make_unique<PackStoreUnderTest>(); }

std::unique_ptr<StoreUnderTest> NewPlainPackStore() {
  return std::make_unique<PackStoreUnderTest>(os::WriteMode::kPlain);
}

INSTANTIATE_TEST_SUITE_P(Packs, ChunkStoreSuite, ::testing::Values(&NewPackStore));
INSTANTIATE_TEST_SUITE_P(PacksWrittenByThreads, ChunkStoreSuite,
                         ::testing::Values(&NewPlainPackStore));

uint64_t BlocksOf(const std::string& path) {
  struct stat st;
  EXPECT_EQ(stat(path.c_str(), &st), 0) << path;
  return static_cast<uint64_t>(st.st_blocks) * 512;
}

TEST(PackStoreTest, APunchGivesTheRecordsBlocksBack) {
  PackStoreUnderTest test;
  auto writer = MustCreate(test.store(), 1);
  std::vector<Written> all;
  for (uint64_t i = 0; i < 4; ++i) {
    all.push_back(MustAppend(*writer, RandomBytes(ckpt::kMaxChunkBytes, i)));
  }
  ASSERT_TRUE(writer->MakeDurable().ok());
  writer.reset();
  const std::string path = Layout(test.dir()).Pack(1);
  const uint64_t before = BlocksOf(path);
  ASSERT_TRUE(test.store().Punch(all[2].chunk.location).ok());
  const uint64_t after = BlocksOf(path);
  if (after == before) GTEST_SKIP() << "this file system has no holes";
  // The file system may need a block or two of its own to describe the hole.
  EXPECT_LE(after, before - all[2].chunk.location.extent + 4 * os::kBlockBytes);
  EXPECT_EQ(test.store().GetUsage()->disk_bytes, after);
  ExpectDamaged(ReadBack(test.store(), all[2].chunk));
  for (const int i : {0, 1, 3}) ExpectReadable(test.store(), all[i]);
}

TEST(PackStoreTest, RecoveryOfAPackWithHolesKeepsWhatIsLeft) {
  PackStoreUnderTest test;
  auto writer = MustCreate(test.store(), 1);
  std::vector<Written> all;
  for (uint64_t i = 0; i < 4; ++i) all.push_back(MustAppend(*writer, RandomBytes(20000, i)));
  ASSERT_TRUE(writer->MakeDurable().ok());
  writer.reset();
  ASSERT_TRUE(test.store().Punch(all[0].chunk.location).ok());
  ASSERT_TRUE(test.store().Punch(all[2].chunk.location).ok());
  if (ReadBack(test.store(), all[0].chunk).ok()) GTEST_SKIP() << "this file system has no holes";
  const auto pack = test.store().RecoverPack(1);
  ASSERT_TRUE(pack.ok()) << pack.status();
  ASSERT_EQ(pack->chunks.size(), 2u);
  EXPECT_EQ(pack->chunks[0].location, all[1].chunk.location);
  EXPECT_EQ(pack->chunks[1].location, all[3].chunk.location);
  EXPECT_EQ(pack->cut_bytes, 0u);
}

TEST(PackStoreTest, MorePacksAreReadThanMayStayOpen) {
  PackStoreUnderTest test;
  std::vector<Written> all;
  for (PackId id = 1; id <= 300; ++id) {
    auto writer = MustCreate(test.store(), id);
    all.push_back(MustAppend(*writer, RandomBytes(100, id)));
  }
  for (int round = 0; round < 2; ++round) {
    for (const Written& written : all) ExpectReadable(test.store(), written);
  }
}

TEST(PackStoreTest, FilesThatAreNoPacksAreLeftAlone) {
  PackStoreUnderTest test;
  { MustAppend(*MustCreate(test.store(), 0x105), RandomBytes(100, 1)); }
  const std::string packs = Layout(test.dir()).Packs();
  for (const char* name : {"/README", "/05/README", "/05/0000000000000106.pack"}) {
    std::ofstream(packs + name) << "not a pack";
  }
  test.Reopen();
  EXPECT_THAT(*test.store().ListPacks(), ::testing::ElementsAre(0x105));
  EXPECT_TRUE(std::ifstream(packs + "/README").good());
}

TEST(PackStoreTest, APackThatIsReadGivesItsSpaceBackWhenRemoved) {
  PackStoreUnderTest test;
  const Written written = MustAppend(*MustCreate(test.store(), 1), RandomBytes(100000, 1));
  ExpectReadable(test.store(), written);
  ASSERT_TRUE(test.store().RemovePack(1).ok());
  ExpectDamaged(ReadBack(test.store(), written.chunk));
}

}  // namespace
}  // namespace ckptd
