#include "client/download.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <numeric>
#include <thread>
#include <unordered_map>

#include <grpcpp/support/sync_stream.h>

#include "proto/channel.h"
#include "proto/chunk_frame.h"
#include "proto/chunking.h"
#include "proto/names.h"

namespace ckpt {
namespace {

// Frames between the thread that receives and the one that checks and copies.
constexpr size_t kMaxQueuedFrames = 8;

class FrameQueue {
 public:
  // False: nobody wants more.
  bool Push(grpc::ByteBuffer frame) {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &FrameQueue::HasRoom));
    if (stopped_) return false;
    frames_.push_back(std::move(frame));
    return true;
  }
  void Close() {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  // Nothing: closed and empty.
  std::optional<grpc::ByteBuffer> Pop() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &FrameQueue::HasNews));
    if (frames_.empty()) return std::nullopt;
    grpc::ByteBuffer frame = std::move(frames_.front());
    frames_.pop_front();
    return frame;
  }
  void Stop() {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    frames_.clear();
  }

 private:
  bool HasRoom() const { return stopped_ || frames_.size() < kMaxQueuedFrames; }
  bool HasNews() const { return closed_ || !frames_.empty(); }

  absl::Mutex mutex_;
  std::deque<grpc::ByteBuffer> frames_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

absl::Status BrokenStream(std::string_view what) {
  return absl::UnavailableError(fmt::format("the stream of chunks broke: {}", what));
}

class Fetcher {
 public:
  Fetcher(Client& client, const FetchRequest& request, const ChunkSink& sink,
          const ProgressFn& progress, Cancel* cancel)
      : client_(client),
        request_(request),
        manifest_(*request.manifest),
        sink_(sink),
        progress_(progress),
        cancel_(cancel) {}

  absl::Status Run() {
    for (size_t i = 0; i < request_.chunks.size(); ++i) {
      if (request_.chunks[i] >= manifest_.chunks.size() ||
          (i > 0 && request_.chunks[i] <= request_.chunks[i - 1])) {
        return BadField("chunks", "the chunks to fetch are not ascending indices of the manifest");
      }
      report_.total_bytes += manifest_.chunks[request_.chunks[i]].length;
    }
    Retry retry(client_.options().retry, client_.options().world, cancel_);
    std::optional<size_t> damaged_at;
    while (next_ < request_.chunks.size()) {
      const size_t before = next_;
      const absl::Status status = Try();
      if (!sink_error_.ok()) return sink_error_;
      if (status.ok()) continue;
      if (cancel_ != nullptr && cancel_->requested()) {
        return absl::CancelledError("the fetch was cancelled");
      }
      if (next_ > before) retry.Progressed();
      // Bytes may have been hurt on the way: they are asked for once more.
      const bool hurt = mismatch_ && damaged_at != next_;
      if (hurt) damaged_at = next_;
      if (!(hurt ? retry.AgainAnyway() : retry.Again(status))) return client_.Translate(status);
    }
    return absl::OkStatus();
  }

 private:
  // One stream, from chunk next_ on.
  absl::Status Try() {
    static const grpc::internal::RpcMethod kMethod(kFetchChunksMethod,
                                                   grpc::internal::RpcMethod::SERVER_STREAMING);
    mismatch_ = false;
    v1::FetchChunksRequest message;
    message.set_checkpoint_id(request_.checkpoint_id);
    message.set_rank(request_.rank);
    message.mutable_chunks()->Add(request_.chunks.begin() + next_, request_.chunks.end());
    grpc::ClientContext context;
    Cancel::Scope scope(cancel_, [&context] { context.TryCancel(); });
    const std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> reader(
        grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(client_.channel().get(),
                                                                      kMethod, &context, message));
    FrameQueue queue;
    std::thread receiver([&] {
      grpc::ByteBuffer frame;
      while (reader->Read(&frame) && queue.Push(std::move(frame))) frame = {};
      queue.Close();
    });
    absl::Status status;
    bool ended = false;
    while (std::optional<grpc::ByteBuffer> frame = queue.Pop()) {
      status = Take(*frame, ended);
      if (!status.ok()) break;
    }
    if (!status.ok()) context.TryCancel();
    queue.Stop();
    receiver.join();
    const absl::Status finished = FromGrpc(reader->Finish());
    if (!status.ok()) return status;
    if (!finished.ok()) return finished;
    if (!ended) return BrokenStream("it has no end");
    return absl::OkStatus();
  }

  absl::Status Take(const grpc::ByteBuffer& buffer, bool& ended) {
    ASSIGN_OR_RETURN(const ChunkFrame frame, DecodeFrame(buffer));
    if (ended) return BrokenStream("a frame came after its end");
    if (frame.end) {
      ended = true;
      if (next_ < request_.chunks.size()) return BrokenStream("chunks are missing at its end");
      return absl::OkStatus();
    }
    if (next_ == request_.chunks.size() || frame.chunk_index != request_.chunks[next_]) {
      return MakeError(
          absl::StatusCode::kInternal, reason::kBadFrame,
          fmt::format("ckptd sent chunk {}, which was not asked for next", frame.chunk_index));
    }
    const Chunk& chunk = manifest_.chunks[frame.chunk_index];
    std::vector<std::span<const std::byte>> parts;
    parts.reserve(frame.data.size());
    for (const grpc::Slice& slice : frame.data) {
      parts.push_back({reinterpret_cast<const std::byte*>(slice.begin()), slice.size()});
    }
    if (frame.data_bytes() != chunk.length || HashParts(parts) != chunk.digest) {
      mismatch_ = true;
      return MakeError(absl::StatusCode::kDataLoss, reason::kChunkDamaged,
                       fmt::format("chunk {} of shard {} of checkpoint {} came with bytes that do "
                                   "not match its digest {}",
                                   frame.chunk_index, request_.rank, request_.checkpoint_id,
                                   chunk.digest.Hex()));
    }
    if (sink_error_ = sink_(frame.chunk_index, parts); !sink_error_.ok()) return sink_error_;
    ++next_;
    report_.done_bytes += chunk.length;
    if (progress_) progress_(report_);
    return absl::OkStatus();
  }

  Client& client_;
  const FetchRequest& request_;
  const Manifest& manifest_;
  const ChunkSink& sink_;
  const ProgressFn& progress_;
  Cancel* cancel_;
  size_t next_ = 0;  // into request_.chunks
  bool mismatch_ = false;
  absl::Status sink_error_;
  Progress report_;
};

absl::Status UnknownEntry(const std::string& name) {
  return MakeError(absl::StatusCode::kNotFound, reason::kEntryNotFound,
                   fmt::format("the checkpoint has no entry {}", Printable(name)));
}

std::unordered_map<std::string_view, const Entry*> ByName(const Manifest& manifest) {
  std::unordered_map<std::string_view, const Entry*> entries;
  for (const Entry& entry : manifest.entries) entries.emplace(entry.name, &entry);
  return entries;
}

}  // namespace

std::vector<uint32_t> AllChunks(const Manifest& manifest) {
  std::vector<uint32_t> chunks(manifest.chunks.size());
  std::iota(chunks.begin(), chunks.end(), 0);
  return chunks;
}

absl::StatusOr<std::vector<uint32_t>> ChunksOfEntries(const Manifest& manifest,
                                                      const std::vector<std::string>& entries) {
  const auto by_name = ByName(manifest);
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

absl::Status Fetch(Client& client, const FetchRequest& request, const ChunkSink& sink,
                   const ProgressFn& progress, Cancel* cancel) {
  if (request.manifest == nullptr) return BadField("manifest", "the fetch has no manifest");
  return Fetcher(client, request, sink, progress, cancel).Run();
}

absl::Status FetchInto(Client& client, uint64_t checkpoint_id, uint32_t rank,
                       const Manifest& manifest, const std::vector<Destination>& destinations,
                       const ProgressFn& progress, Cancel* cancel) {
  struct Piece {
    uint64_t begin, end;  // of the stream
    std::byte* data;
  };
  // A piece for each chunk that a destination touches, in order of the chunks.
  std::vector<std::pair<uint32_t, Piece>> pieces;
  const auto by_name = ByName(manifest);
  const std::vector<uint64_t> offsets = ChunkOffsets(manifest);
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
      pieces.push_back({chunk, {from, to, destination.data + (from - begin)}});
    }
  }
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  FetchRequest request{.checkpoint_id = checkpoint_id, .rank = rank, .manifest = &manifest};
  for (const auto& [chunk, piece] : pieces) {
    if (request.chunks.empty() || request.chunks.back() != chunk) request.chunks.push_back(chunk);
  }
  auto piece = pieces.begin();
  const ChunkSink sink = [&](uint32_t chunk, ChunkParts parts) {
    for (; piece != pieces.end() && piece->first == chunk; ++piece) {
      uint64_t position = offsets[chunk];
      for (const std::span<const std::byte> part : parts) {
        const uint64_t from = std::max(piece->second.begin, position);
        const uint64_t to = std::min(piece->second.end, position + part.size());
        if (from < to) {
          std::memcpy(piece->second.data + (from - piece->second.begin),
                      part.data() + (from - position), to - from);
        }
        position += part.size();
      }
    }
    return absl::OkStatus();
  };
  return Fetch(client, request, sink, progress, cancel);
}

absl::StatusOr<std::vector<std::string>> FetchEntries(Client& client, uint64_t checkpoint_id,
                                                      uint32_t rank, const Manifest& manifest,
                                                      const std::vector<std::string>& entries) {
  const auto by_name = ByName(manifest);
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
