#include "daemon/store/packing.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/catalog/uploads.h"
#include "daemon/chunks/codec.h"
#include "daemon/chunks/layout.h"
#include "proto/chunking.h"

namespace ckptd {
namespace {

using Bytes = std::vector<std::byte>;
using Rule = ckpt::Reason::Rule;

// A pack's worth: so much more of the disk is taken before the first byte comes
// back, and one transaction moves so many chunks at most.
constexpr uint64_t kBatchBytes = 64u << 20;
constexpr size_t kBatchChunks = 64;

bool IsHistory(const ckpt::Checkpoint& checkpoint) {
  if (!checkpoint.verdict.keep || !checkpoint.damage.empty() || !checkpoint.pins.empty() ||
      !checkpoint.aliases.empty()) {
    return false;
  }
  return std::ranges::none_of(checkpoint.verdict.reasons, [](const ckpt::Reason& reason) {
    switch (reason.rule) {
      case Rule::kNewest:
      case Rule::kBest:
      case Rule::kPinned:
      case Rule::kAliased:
      case Rule::kReferenced:
      case Rule::kLeased:
      case Rule::kAwaitingMetric:
        return true;
      default:
        return false;
    }
  });
}

// Bytes that a number within the element has.
uint32_t NumberBytes(ckpt::DType dtype) {
  if (dtype == ckpt::DType::kNone) return 1;
  const auto bytes = static_cast<uint32_t>(ckpt::ElementBytes(dtype));
  return dtype == ckpt::DType::kC64 || dtype == ckpt::DType::kC128 ? bytes / 2 : bytes;
}

uint64_t RecordBytes(size_t payload) { return RecordExtent(static_cast<uint32_t>(payload)); }

// The last look before the bytes as they came are given back.
bool DecodesTo(const Bytes& encoded, const Bytes& base, const Bytes& chunk) {
  const std::optional<EncodedHeader> header = DecodeHeader(encoded);
  Bytes decoded(chunk.size());
  return header &&
         DecodeChunk(encoded, header->base ? std::span<const std::byte>(base)
                                           : std::span<const std::byte>(),
                     decoded)
             .ok() &&
         decoded == chunk;
}

// What lies in each chunk of a manifest.
class Contents {
 public:
  explicit Contents(const ckpt::Manifest& manifest) : offsets_(ckpt::ChunkOffsets(manifest)) {
    for (const ckpt::Entry& entry : manifest.entries) {
      if (entry.length > 0) entries_.push_back(&entry);
    }
    std::ranges::sort(entries_, {}, &ckpt::Entry::offset);
  }

  // Of the numbers that most of the chunk is.
  uint32_t ElementBytes(size_t chunk) const {
    const uint64_t begin = offsets_[chunk], end = offsets_[chunk + 1];
    std::array<uint64_t, 9> bytes{};
    for (auto it = First(begin); it != entries_.end() && (*it)->offset < end; ++it) {
      const uint64_t from = std::max(begin, (*it)->offset);
      const uint64_t to = std::min(end, (*it)->offset + (*it)->length);
      if (from < to) bytes[NumberBytes((*it)->dtype)] += to - from;
    }
    return static_cast<uint32_t>(std::ranges::max_element(bytes) - bytes.begin());
  }

  // Names the place in the state that the chunk begins at; the same in every
  // checkpoint of a run. Empty: none.
  std::string Place(size_t chunk) const {
    const auto it = First(offsets_[chunk]);
    if (it == entries_.end() || (*it)->offset > offsets_[chunk]) return "";
    return fmt::format("{}\n{}", offsets_[chunk] - (*it)->offset, (*it)->name);
  }

 private:
  // The first entry that ends behind `offset`.
  std::vector<const ckpt::Entry*>::const_iterator First(uint64_t offset) const {
    return std::ranges::partition_point(entries_, [&](const ckpt::Entry* entry) {
      return entry->offset + entry->length <= offset;
    });
  }

  const std::vector<uint64_t> offsets_;
  std::vector<const ckpt::Entry*> entries_;  // by offset
};

}  // namespace

absl::Status Packing::PackRun(int64_t run_id) {
  std::vector<uint64_t> unpacked;
  Judgement judgement;
  {
    ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginRead());
    ASSIGN_OR_RETURN(unpacked, catalog::ListUnpacked(*txn, run_id));
    // The newest alone is no history: most looks end here.
    ASSIGN_OR_RETURN(auto newest, catalog::ListCheckpoints(*txn, run_id, {.limit = 1}));
    if (newest.empty() || unpacked == std::vector<uint64_t>{newest[0].id}) return absl::OkStatus();
    ASSIGN_OR_RETURN(auto run, catalog::FindRunById(*txn, run_id));
    if (unpacked.empty() || !run || run->deleted) return absl::OkStatus();
    ASSIGN_OR_RETURN(judgement, parts_.judge(*txn, *run));
  }
  std::set<uint64_t> history;
  for (const ckpt::Checkpoint& c : judgement.checkpoints) {
    if (IsHistory(c)) history.insert(c.id);
  }
  const ckpt::Checkpoint* newer = nullptr;
  for (const ckpt::Checkpoint& c : judgement.checkpoints) {
    if (history.contains(c.id) &&
        std::ranges::binary_search(unpacked, c.id, std::ranges::greater())) {
      for (uint32_t rank = 0; rank < c.world_size; ++rank) {
        Shard shard;
        {
          ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginRead());
          absl::StatusOr<Shard> looked = LookAt(*txn, c, newer, rank);
          // Removed since, or its manifest is damaged.
          if (absl::IsNotFound(looked.status()) || absl::IsDataLoss(looked.status())) break;
          if (!looked.ok()) return looked.status();
          shard = *std::move(looked);
        }
        shard.history = &history;
        ASSIGN_OR_RETURN(const bool all, PackShard(shard));
        if (!all) return absl::OkStatus();
      }
      ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginWrite());
      RETURN_IF_ERROR(catalog::MarkPacked(*txn, c.id));
      RETURN_IF_ERROR(txn->Commit());
    }
    if (c.verdict.keep && c.damage.empty()) newer = &c;
  }
  return absl::OkStatus();
}

absl::StatusOr<Packing::Shard> Packing::LookAt(catalog::ReadTxn& txn,
                                               const ckpt::Checkpoint& checkpoint,
                                               const ckpt::Checkpoint* newer, uint32_t rank) {
  Shard shard{.checkpoint_id = checkpoint.id, .rank = rank};
  ASSIGN_OR_RETURN(auto run, catalog::FindRun(txn, checkpoint.run));
  ASSIGN_OR_RETURN(auto manifest, catalog::FindManifest(txn, checkpoint.id, rank));
  if (!run || !manifest) return absl::NotFoundError("its space was given back");
  shard.project_id = run->project_id;

  const Contents contents(*manifest);
  std::unordered_map<std::string, ckpt::Digest> places;
  if (newer != nullptr && newer->world_size == checkpoint.world_size) {
    const auto found = catalog::FindManifest(txn, newer->id, rank);
    if (!found.ok() && !absl::IsDataLoss(found.status())) return found.status();
    if (found.ok() && *found) {
      const ckpt::Manifest& neighbour = **found;
      const Contents of_neighbour(neighbour);
      for (size_t i = 0; i < neighbour.chunks.size(); ++i) {
        places.emplace(of_neighbour.Place(i), neighbour.chunks[i].digest);
      }
      places.erase("");
    }
  }
  for (size_t i = 0; i < manifest->chunks.size(); ++i) {
    const ckpt::Digest& digest = manifest->chunks[i].digest;
    if (!shard.element_bytes.emplace(digest, contents.ElementBytes(i)).second) continue;
    const auto place = places.find(contents.Place(i));
    if (place != places.end()) shard.neighbours.emplace(digest, place->second);
  }
  return shard;
}

absl::StatusOr<bool> Packing::PackShard(const Shard& shard) {
  std::vector<catalog::ChunkRow> chunks;
  {
    ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginRead());
    ASSIGN_OR_RETURN(chunks, catalog::ListToEncode(*txn, shard.checkpoint_id, shard.rank));
  }
  Batch batch;
  bool go_on = true;
  for (size_t i = 0; go_on && i < chunks.size(); ++i) {
    if (absl::Status status = PackChunk(shard, chunks[i], batch); !status.ok()) {
      if (batch.writer != nullptr) parts_.abandon(batch.writer->id());
      return status;
    }
    go_on = parts_.go_on(chunks[i].chunk.location.length);
    const bool full = batch.moves.size() >= kBatchChunks ||
                      (batch.writer != nullptr && batch.writer->size() >= kBatchBytes);
    if (full || i + 1 == chunks.size() || !go_on) {
      RETURN_IF_ERROR(Finish(shard, std::exchange(batch, {})));
    }
  }
  return go_on;
}

absl::StatusOr<std::optional<catalog::ChunkRow>> Packing::FindBase(const Shard& shard,
                                                                   const catalog::ChunkRow& chunk) {
  const auto neighbour = shard.neighbours.find(chunk.chunk.digest);
  if (neighbour == shard.neighbours.end()) return std::nullopt;
  ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginRead());
  ASSIGN_OR_RETURN(auto base, catalog::FindChunkRow(*txn, shard.project_id, neighbour->second));
  if (!base || base->chunk.location.length != chunk.chunk.location.length) return std::nullopt;
  ASSIGN_OR_RETURN(const bool may, catalog::MayBeBase(*txn, chunk.row, base->row));
  if (!may) return std::nullopt;
  return base;
}

absl::Status Packing::PackChunk(const Shard& shard, const catalog::ChunkRow& chunk, Batch& batch) {
  {
    ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginRead());
    ASSIGN_OR_RETURN(const bool is_history,
                     catalog::IsUsedOnlyBy(*txn, chunk.row, *shard.history));
    if (!is_history) return absl::OkStatus();
  }
  const auto& [digest, location] = chunk.chunk;
  Bytes bytes(location.length);
  const absl::Status read = parts_.chunks->Read(digest, location, bytes, /*verify=*/true);
  // Damaged, which whoever reads it for its own sake finds and says, or given
  // back since it was listed.
  if (absl::IsDataLoss(read)) return absl::OkStatus();
  RETURN_IF_ERROR(read);

  ASSIGN_OR_RETURN(std::optional<catalog::ChunkRow> base, FindBase(shard, chunk));
  Bytes base_bytes;
  std::optional<CodecBase> codec_base;
  if (base) {
    base_bytes.resize(base->chunk.location.length);
    const absl::Status base_read =
        parts_.chunks->Read(base->chunk.digest, base->chunk.location, base_bytes, /*verify=*/true);
    if (base_read.ok()) {
      codec_base = CodecBase{base->chunk.digest, base_bytes};
    } else if (!absl::IsDataLoss(base_read)) {
      return base_read;
    }
  }
  const auto element = shard.element_bytes.find(digest);
  const uint32_t element_bytes = element == shard.element_bytes.end() ? 1 : element->second;
  const CodecOptions options{.element_bytes = std::max(element_bytes, 1u), .level = parts_.level};
  std::optional<Bytes> encoded;
  bool is_lossless = true;
  parts_.run_low([&, name = digest] {
    encoded = EncodeChunk(name, bytes, codec_base, options);
    if (encoded) is_lossless = DecodesTo(*encoded, base_bytes, bytes);
  });
  if (!is_lossless) {
    spdlog::error("chunk {} encoded does not decode to itself and stays as it is", digest.Hex());
    encoded.reset();
  }
  Batch::Move move{.chunk = chunk};
  // A record is a multiple of 4096 bytes: of a small chunk nothing may be won.
  const bool pays = encoded && RecordBytes(encoded->size()) < RecordBytes(bytes.size());
  if (pays) {
    if (DecodeHeader(*encoded)->base) move.base = std::move(base);
    ASSIGN_OR_RETURN(PackWriter * writer, Writer(batch));
    ASSIGN_OR_RETURN(move.to, writer->AppendEncoded(location.length, *encoded));
  } else if (location.encoded == 0) {
    batch.tried.push_back(chunk);
    return absl::OkStatus();
  } else {
    // Its base has to go, so it lies as it came again.
    const std::span<const std::byte> part = bytes;
    ASSIGN_OR_RETURN(PackWriter * writer, Writer(batch));
    ASSIGN_OR_RETURN(move.to, writer->Append(digest, std::span(&part, 1)));
  }
  batch.moves.push_back(std::move(move));
  return absl::OkStatus();
}

absl::StatusOr<PackWriter*> Packing::Writer(Batch& batch) {
  if (batch.writer != nullptr) return batch.writer.get();
  ASSIGN_OR_RETURN(const Usage usage, parts_.chunks->GetUsage());
  if (usage.free_bytes < parts_.keep_free_bytes + kBatchBytes) {
    return ckpt::MakeError(absl::StatusCode::kResourceExhausted, ckpt::reason::kNoSpace,
                           fmt::format("packing needs {} bytes for a while and leaves {}; {} are "
                                       "free", kBatchBytes, parts_.keep_free_bytes,
                                       usage.free_bytes));
  }
  ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginWrite());
  ASSIGN_OR_RETURN(const PackId pack, catalog::StartOwnPack(*txn, parts_.now()));
  RETURN_IF_ERROR(txn->Commit());
  absl::StatusOr<std::unique_ptr<PackWriter>> writer = parts_.chunks->NewPack(pack);
  if (!writer.ok()) {
    parts_.abandon(pack);
    return writer.status();
  }
  batch.writer = *std::move(writer);
  return batch.writer.get();
}

absl::Status Packing::Finish(const Shard& shard, Batch batch) {
  absl::Status status;
  if (batch.writer != nullptr) status = batch.writer->MakeDurable();  // bytes first
  if (status.ok()) status = Record(shard, batch);
  if (!status.ok() && batch.writer != nullptr) parts_.abandon(batch.writer->id());
  return status;
}

absl::Status Packing::Record(const Shard& shard, const Batch& batch) {
  if (batch.moves.empty() && batch.tried.empty()) return absl::OkStatus();
  size_t moved = 0;
  uint64_t before = 0, after = 0;
  ASSIGN_OR_RETURN(auto txn, parts_.catalog->BeginWrite());
  for (const catalog::ChunkRow& chunk : batch.tried) {
    RETURN_IF_ERROR(catalog::MarkTried(*txn, chunk));
  }
  for (const Batch::Move& move : batch.moves) {
    // Asked again: somebody may have begun to need the chunk at full speed.
    ASSIGN_OR_RETURN(const bool is_moved,
                     catalog::MoveChunk(*txn, shard.project_id, move.chunk, move.to, move.base,
                                        *shard.history));
    if (!is_moved) continue;
    ++moved;
    before += move.chunk.chunk.location.extent;
    after += move.to.extent;
  }
  if (batch.writer != nullptr) RETURN_IF_ERROR(catalog::SealPack(*txn, batch.writer->id()));
  RETURN_IF_ERROR(txn->Commit());
  parts_.metrics->packed_chunks.Add(moved);
  parts_.metrics->packed_bytes_before.Add(before);
  parts_.metrics->packed_bytes_after.Add(after);
  parts_.wake_janitor();
  spdlog::debug("packed {} chunks of checkpoint {} rank {}: {} bytes, {} before", moved,
                shard.checkpoint_id, shard.rank, after, before);
  return absl::OkStatus();
}

}  // namespace ckptd
