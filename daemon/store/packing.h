// Lays history on disk in fewer bytes: the chunks that only history refers to
// are encoded (chunks/codec.h), alone or as the difference to the same chunk of
// the next newer checkpoint, written to packs of their own, and then the
// catalog's rows move to the copies.
//
// History is what a run keeps beside what it will likely resume from: not its
// newest, none of its best, nothing pinned, named, referenced or being read. A
// chunk that one of these, an upload under way or another run's checkpoint
// refers to stays as it came, so that it is fetched at full speed.
//
// Bytes before row: a crash leaves packs that nobody refers to, which recovery
// removes. A newer base is chosen, because retention takes the older first, and
// nothing is then kept for the sake of a difference. What is kept only as a
// base all the same (a milestone's neighbour went) is given back soon: the
// differences to it are encoded anew.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <absl/time/time.h>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/encoding.h"
#include "daemon/catalog/runs.h"
#include "daemon/chunks/chunk_store.h"
#include "daemon/metrics/metrics.h"
#include "daemon/store/judgement.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckptd {

// Used by one thread.
class Packing {
 public:
  struct Parts {
    catalog::Catalog* catalog = nullptr;
    ChunkStore* chunks = nullptr;
    Metrics* metrics = nullptr;
    int level = 1;                 // of zstd
    uint64_t keep_free_bytes = 0;  // of the disk
    std::function<absl::Time()> now;
    // What the policy in force says of the run's checkpoints.
    std::function<absl::StatusOr<Judgement>(catalog::ReadTxn&, const catalog::RunRow&)> judge;
    // The pack is never written to again, and nothing in it is used.
    std::function<void(PackId)> abandon;
    std::function<void()> wake_janitor;
    // Calls it on a thread of low priority, see Packer::RunLow.
    std::function<void(const std::function<void()>&)> run_low;
    // Asked between any two chunks, see Packer::GoOn.
    std::function<bool(uint64_t bytes)> go_on;
  };
  explicit Packing(Parts parts) : parts_(std::move(parts)) {}

  // Packs what has become history of the run, newest first. OK as well when it
  // was told to end before all was done: the rest is found again.
  absl::Status PackRun(int64_t run_id);

 private:
  // Copies that were written and are nobody's yet.
  struct Batch {
    struct Move {
      catalog::ChunkRow chunk;
      ChunkLocation to;
      std::optional<catalog::ChunkRow> base;
    };
    std::unique_ptr<PackWriter> writer;  // nullptr: nothing was written
    std::vector<Move> moves;
    std::vector<catalog::ChunkRow> tried;
  };
  // What is the same for all chunks of a shard.
  struct Shard {
    int64_t project_id = 0;
    uint64_t checkpoint_id = 0;
    uint32_t rank = 0;
    const std::set<uint64_t>* history = nullptr;
    std::unordered_map<ckpt::Digest, uint32_t> element_bytes;
    std::unordered_map<ckpt::Digest, ckpt::Digest> neighbours;  // the likely base of each
  };

  // False: told to end.
  absl::StatusOr<bool> PackShard(const Shard& shard);
  absl::StatusOr<Shard> LookAt(catalog::ReadTxn& txn, const ckpt::Checkpoint& checkpoint,
                               const ckpt::Checkpoint* newer, uint32_t rank);
  absl::Status PackChunk(const Shard& shard, const catalog::ChunkRow& chunk, Batch& batch);
  absl::StatusOr<std::optional<catalog::ChunkRow>> FindBase(const Shard& shard,
                                                            const catalog::ChunkRow& chunk);
  absl::StatusOr<PackWriter*> Writer(Batch& batch);
  // Makes the copies durable, then moves the rows.
  absl::Status Finish(const Shard& shard, Batch batch);
  absl::Status Record(const Shard& shard, const Batch& batch);

  const Parts parts_;
};

}  // namespace ckptd
