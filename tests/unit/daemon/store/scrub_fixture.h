// Has the scrub read a store in which things were made to go wrong.
#pragma once

#include <fstream>

#include "daemon/catalog/sqlite.h"
#include "tests/unit/daemon/store/fixture.h"

namespace ckptd {

class ScrubTest : public StoreTest {
 protected:
  void SetUp() override {
    options_.scrub_rate = 0;
    StoreTest::SetUp();
  }

  // Where the checkpoint's chunk of this seed lies.
  ChunkLocation LocationOf(uint64_t checkpoint_id, int seed) {
    auto catalog = Get(catalog::Catalog::Open(Layout(options_.data_dir).Catalog()));
    return Get(catalog::CheckpointChunks(*Get(catalog->BeginRead()), checkpoint_id, 0))
        .at(ManifestOf({seed}).chunks[0].digest);
  }
  std::string PathOf(PackId pack) { return Layout(options_.data_dir).Pack(pack); }
  void Flip(PackId pack, uint64_t at) { FlipByte(PathOf(pack), at); }
  static void FlipByte(const std::string& path, uint64_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ 0x40);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
    ASSERT_TRUE(file.flush().good()) << path << " at " << at;
  }
  // Of a shard's manifest in the catalog the byte in the middle.
  void FlipManifest(uint64_t checkpoint_id, uint32_t rank = 0) {
    auto catalog = Get(catalog::Catalog::Open(Layout(options_.data_dir).Catalog()));
    auto txn = Get(catalog->BeginWrite());
    catalog::Connection& db = txn->connection();
    auto rows = Get(db.Query(R"sql(
        SELECT m.shard_row, m.manifest FROM manifests AS m JOIN shards AS s ON s.row = m.shard_row
        JOIN checkpoints AS c ON c.row = s.checkpoint_row WHERE c.id = ?1 AND s.rank = ?2)sql",
                             checkpoint_id, rank));
    ASSERT_TRUE(rows.Next());
    std::string bytes = rows.Text(1);
    const int64_t shard_row = rows.Int(0);
    bytes[bytes.size() / 2] ^= 0x40;
    ASSERT_TRUE(db.Run("UPDATE manifests SET manifest = ?2 WHERE shard_row = ?1", shard_row,
                       catalog::Blob{bytes})
                    .ok());
    ASSERT_TRUE(txn->Commit().ok());
  }

  std::string DamageOf(uint64_t checkpoint_id) {
    return Get(store_->GetCheckpoint(checkpoint_id)).damage;
  }
  // The kinds of the checkpoint's events, oldest first.
  std::vector<ckpt::Event::Kind> EventsOf(uint64_t checkpoint_id) {
    std::vector<ckpt::Event::Kind> kinds;
    for (const ckpt::Event& event : Get(store_->ListEvents(r_, checkpoint_id, 0, 1000))) {
      kinds.insert(kinds.begin(), event.kind);
    }
    return kinds;
  }
  // What a verification of all runs finds.
  std::vector<std::string> Verify() {
    std::vector<std::string> found;
    EXPECT_TRUE(store_
                    ->VerifyAll("",
                                [&](const auto& progress) {
                                  for (const auto& d : progress.damages) found.push_back(d.text);
                                  return true;
                                })
                    .ok());
    return found;
  }
};

}  // namespace ckptd
