// Fetching into memory that is there: which chunks it needs, and which bytes of
// each go where.
#include <algorithm>
#include <thread>
#include <unordered_map>

#include "client/copier.h"
#include "client/download.h"
#include "proto/chunking.h"
#include "proto/entry_index.h"
#include "proto/names.h"

namespace ckpt {
namespace {

absl::Status UnknownEntry(const std::string& name) {
  return MakeError(absl::StatusCode::kNotFound, reason::kEntryNotFound,
                   fmt::format("the checkpoint has no entry {}", Printable(name)));
}

// Bytes of a chunk that a destination wants.
struct Piece {
  uint32_t chunk = 0;
  uint64_t begin = 0, end = 0;  // of the shard's stream
  std::byte* data = nullptr;
};

// A piece for each chunk that a destination touches, in order of the chunks.
absl::StatusOr<std::vector<Piece>> CutIntoPieces(const Manifest& manifest,
                                                 const std::vector<uint64_t>& offsets,
                                                 const std::vector<Destination>& destinations) {
  std::vector<Piece> pieces;
  const auto by_name = EntriesByName(manifest);
  for (const Destination& destination : destinations) {
    const auto found = by_name.find(destination.entry);
    if (found == by_name.end()) return UnknownEntry(destination.entry);
    const Entry& entry = *found->second;
    const uint64_t room = entry.length - std::min(destination.offset, entry.length);
    const uint64_t length = destination.length.value_or(room);
    if (destination.offset > entry.length || length > room) {
      return BadField(
          "destinations",
          fmt::format("bytes {} to {} are not inside entry {}, which has {}", destination.offset,
                      destination.offset + length, Printable(entry.name), entry.length));
    }
    const uint64_t begin = entry.offset + destination.offset;
    const ChunkSpan span = ChunksOf(offsets, begin, begin + length);
    for (uint32_t chunk = span.first; chunk < span.last; ++chunk) {
      const uint64_t from = std::max(begin, offsets[chunk]);
      const uint64_t to = std::min(begin + length, offsets[chunk + 1]);
      pieces.push_back({chunk, from, to, destination.data + (from - begin)});
    }
  }
  std::ranges::stable_sort(pieces, {}, &Piece::chunk);
  return pieces;
}

// Takes the chunks that `pieces` are of, in their order, and copies.
class PieceSink {
 public:
  PieceSink(std::span<const Piece> pieces, const std::vector<uint64_t>& offsets)
      : pieces_(pieces), offsets_(offsets) {}

  absl::Status operator()(uint32_t chunk, ChunkParts parts) {
    for (; !pieces_.empty() && pieces_.front().chunk == chunk; pieces_ = pieces_.subspan(1)) {
      const Piece& piece = pieces_.front();
      uint64_t position = offsets_[chunk];
      for (const std::span<const std::byte> part : parts) {
        const uint64_t from = std::max(piece.begin, position);
        const uint64_t to = std::min(piece.end, position + part.size());
        if (from < to) {
          CopyBytes(piece.data + (from - piece.begin), part.data() + (from - position), to - from);
        }
        position += part.size();
      }
    }
    return absl::OkStatus();
  }

 private:
  std::span<const Piece> pieces_;  // still to come
  const std::vector<uint64_t>& offsets_;
};

// How many streams beside each other pay. One takes a core on each side to
// itself: on few cores more of them gain nothing, and neither do short ones.
size_t StreamsFor(const ClientOptions& options, uint64_t bytes) {
  constexpr uint64_t kWorthAStream = 128u << 20;
  constexpr size_t kMostByDefault = 4, kCoresAStream = 4;
  size_t streams = options.fetch_streams;
  if (streams == 0) {
    const size_t cores = std::thread::hardware_concurrency();
    streams = std::min(cores / kCoresAStream, kMostByDefault);
    streams = std::min<size_t>(streams, bytes / kWorthAStream);
  }
  return std::max<size_t>(streams, 1);
}

// The progress of several streams as that of one.
class JointProgress {
 public:
  JointProgress(const ProgressFn& progress, size_t streams, uint64_t total)
      : progress_(progress), done_(streams), joint_{.total_bytes = total} {}

  ProgressFn Of(size_t stream) {
    if (!progress_) return nullptr;
    return [this, stream](const Progress& of_stream) {
      absl::MutexLock lock(&mutex_);
      joint_.done_bytes += of_stream.done_bytes - done_[stream];
      done_[stream] = of_stream.done_bytes;
      progress_(joint_);
    };
  }

 private:
  const ProgressFn& progress_;
  absl::Mutex mutex_;
  std::vector<uint64_t> done_ ABSL_GUARDED_BY(mutex_);
  Progress joint_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::vector<uint32_t>> ChunksOfEntries(const Manifest& manifest,
                                                      const std::vector<std::string>& entries) {
  const auto by_name = EntriesByName(manifest);
  const std::vector<uint64_t> offsets = ChunkOffsets(manifest);
  std::vector<bool> wanted(manifest.chunks.size());
  for (const std::string& name : entries) {
    const auto found = by_name.find(name);
    if (found == by_name.end()) return UnknownEntry(name);
    const Entry& entry = *found->second;
    const ChunkSpan span = ChunksOf(offsets, entry.offset, entry.offset + entry.length);
    std::fill(wanted.begin() + span.first, wanted.begin() + span.last, true);
  }
  std::vector<uint32_t> chunks;
  for (uint32_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i]) chunks.push_back(i);
  }
  return chunks;
}

absl::Status FetchInto(Client& client, uint64_t checkpoint_id, uint32_t rank,
                       const Manifest& manifest, const std::vector<Destination>& destinations,
                       const ProgressFn& progress, Cancel* cancel) {
  const std::vector<uint64_t> offsets = ChunkOffsets(manifest);
  ASSIGN_OR_RETURN(const std::vector<Piece> pieces, CutIntoPieces(manifest, offsets, destinations));
  std::vector<uint32_t> chunks;
  uint64_t bytes = 0;
  for (const Piece& piece : pieces) {
    if (!chunks.empty() && chunks.back() == piece.chunk) continue;
    chunks.push_back(piece.chunk);
    bytes += manifest.chunks[piece.chunk].length;
  }
  const size_t streams =
      std::min(StreamsFor(client.options(), bytes), std::max<size_t>(chunks.size(), 1));

  // Each stream has a run of the chunks, so that the disk is read in order, and,
  // but for the first, a connection of its own.
  Cancel stop;
  Cancel::Scope stop_too(cancel, [&stop] { stop.Request(); });
  JointProgress joint(progress, streams, bytes);
  absl::Mutex mutex;
  absl::Status failed;  // the first; the others are told to stop for it
  const auto fetch = [&](size_t stream) {
    const auto chunk_at = [&](size_t i) { return chunks.begin() + chunks.size() * i / streams; };
    FetchRequest request{.checkpoint_id = checkpoint_id, .rank = rank, .manifest = &manifest};
    request.chunks.assign(chunk_at(stream), chunk_at(stream + 1));
    if (request.chunks.empty()) return;
    const auto first = std::ranges::lower_bound(pieces, request.chunks.front(), {}, &Piece::chunk);
    const PieceSink sink(std::span(first, pieces.end()), offsets);
    std::unique_ptr<Client> own;
    absl::Status status;
    if (stream > 0) {
      absl::StatusOr<std::unique_ptr<Client>> connected = client.Beside();
      status = connected.status();
      if (connected.ok()) own = *std::move(connected);
    }
    if (status.ok()) {
      status = Fetch(own == nullptr ? client : *own, request, sink, joint.Of(stream), &stop);
    }
    if (status.ok()) return;
    {
      absl::MutexLock lock(&mutex);
      if (failed.ok()) failed = status;
    }
    stop.Request();
  };
  std::vector<std::thread> threads;
  for (size_t stream = 1; stream < streams; ++stream) threads.emplace_back(fetch, stream);
  fetch(0);
  for (std::thread& thread : threads) thread.join();
  return failed;
}

absl::StatusOr<std::vector<std::string>> FetchEntries(Client& client, uint64_t checkpoint_id,
                                                      uint32_t rank, const Manifest& manifest,
                                                      const std::vector<std::string>& entries) {
  const auto by_name = EntriesByName(manifest);
  std::vector<std::string> values(entries.size());
  std::vector<Destination> destinations;
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto found = by_name.find(entries[i]);
    if (found == by_name.end()) return UnknownEntry(entries[i]);
    values[i].resize(found->second->length);
    destinations.push_back(
        {.entry = entries[i], .data = reinterpret_cast<std::byte*>(values[i].data())});
  }
  RETURN_IF_ERROR(FetchInto(client, checkpoint_id, rank, manifest, destinations));
  return values;
}

absl::StatusOr<std::vector<ByteRange>> BoxRanges(std::span<const int64_t> whole,
                                                 std::span<const int64_t> begin,
                                                 std::span<const int64_t> shape,
                                                 size_t element_bytes) {
  bool inside = begin.size() == whole.size() && shape.size() == whole.size();
  for (size_t d = 0; inside && d < whole.size(); ++d) {
    inside =
        begin[d] >= 0 && shape[d] >= 0 && shape[d] <= whole[d] && begin[d] <= whole[d] - shape[d];
  }
  if (!inside) return BadField("shape", "the box is not inside the tensor");
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return std::vector<ByteRange>{};
  // Dimensions from `split` on are whole: they and the one before are one run.
  size_t split = whole.size();
  while (split > 0 && shape[split - 1] == whole[split - 1]) --split;
  const size_t outer = split == 0 ? 0 : split - 1;
  std::vector<uint64_t> strides(whole.size() + 1, element_bytes);
  for (size_t d = whole.size(); d > 0; --d) strides[d - 1] = strides[d] * whole[d - 1];
  // strides[d + 1] is the bytes of one step of dimension d.
  uint64_t run = element_bytes, base = 0;
  for (size_t d = outer; d < whole.size(); ++d) run *= shape[d];
  for (size_t d = 0; d < whole.size(); ++d) base += begin[d] * strides[d + 1];
  std::vector<ByteRange> ranges;
  std::vector<int64_t> index(outer, 0);
  while (true) {
    uint64_t offset = base;
    for (size_t d = 0; d < outer; ++d) offset += index[d] * strides[d + 1];
    ranges.push_back({offset, run});
    size_t d = outer;
    while (d > 0 && ++index[d - 1] == shape[d - 1]) index[--d] = 0;
    if (d == 0) return ranges;
  }
}

}  // namespace ckpt
