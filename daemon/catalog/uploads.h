// Unfinished pushes. An upload is one shard on its way; the shards of one
// (run, attempt, step) gather under one open checkpoint row until the last is
// durable.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "daemon/chunks/chunk_store.h"
#include "proto/model.h"

namespace ckptd::catalog {

struct UploadRow {
  int64_t shard_row = 0;       // key; the wire's upload id is made from it
  int64_t checkpoint_row = 0;  // key of the open or committed checkpoint row
  int64_t run_id = 0;
  int64_t project_id = 0;
  uint64_t attempt = 0;
  uint64_t step = 0;
  uint32_t rank = 0;
  uint32_t world_size = 1;
  ckpt::Digest manifest_digest;  // over the serialized manifest
  bool durable = false;          // CommitShard was answered
  uint64_t checkpoint_id = 0;    // once committed
  PackId pack = 0;               // being written; 0: none
  absl::Time opened_at;
  uint64_t stored_bytes = 0;
};

struct NewUpload {
  int64_t run_id = 0;
  uint64_t attempt = 0;
  uint64_t step = 0;
  uint32_t rank = 0;
  uint32_t world_size = 1;
  ckpt::Metrics metrics;
  std::set<std::string> pending_metrics;
  std::map<std::string, std::string> labels;
};

// What UploadRow.manifest_digest holds: over the serialized v1.Manifest.
ckpt::Digest ManifestDigest(const ckpt::Manifest& manifest);

// Of this attempt; committed ones too.
absl::StatusOr<std::optional<UploadRow>> FindUpload(ReadTxn& txn, int64_t run_id, uint64_t attempt,
                                                    uint64_t step, uint32_t rank);
absl::StatusOr<std::optional<UploadRow>> FindUploadByRow(ReadTxn& txn, int64_t shard_row);
// DATA_LOSS/MANIFEST_DAMAGED when what is stored is not what its digest says.
absl::StatusOr<ckpt::Manifest> GetUploadManifest(ReadTxn& txn, int64_t shard_row);
// The same without taking it to pieces: its length.
absl::StatusOr<uint64_t> CheckManifest(ReadTxn& txn, int64_t shard_row);
// Shard row with manifest, and the open checkpoint row if it is the first
// shard. Metrics, pending metrics and labels of all shards are joined.
absl::StatusOr<UploadRow> InsertUpload(WriteTxn& txn, const NewUpload& upload,
                                       const ckpt::Manifest& manifest, absl::Time now);
// Names the pack that the upload is about to write (0: none any more). A new
// pack's id comes from here: never used before, also not after a crash.
absl::StatusOr<PackId> StartPack(WriteTxn& txn, int64_t shard_row, absl::Time now);
// A pack that no upload writes: nothing in it is anybody's until it is sealed.
absl::StatusOr<PackId> StartOwnPack(WriteTxn& txn, absl::Time now);

// The shard is durable. When it was the last of world_size, the checkpoint is
// committed in this same transaction and its id returned; 0 otherwise.
absl::StatusOr<uint64_t> FinishShard(WriteTxn& txn, int64_t shard_row, uint32_t timeline,
                                     absl::Time now);
// Number of durable shards of the open checkpoint.
absl::StatusOr<uint32_t> CountDurable(ReadTxn& txn, int64_t checkpoint_row);

// Drops a shard that is not part of a committed checkpoint: references and
// row; the checkpoint row too when it was its last shard.
absl::Status DropUpload(WriteTxn& txn, int64_t shard_row);
// All shards of checkpoints that are not committed.
absl::StatusOr<std::vector<UploadRow>> ListOpenUploads(ReadTxn& txn);

}  // namespace ckptd::catalog
