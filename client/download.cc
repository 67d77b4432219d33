#include "client/download.h"

#include <algorithm>
#include <deque>
#include <numeric>
#include <thread>

#include <grpcpp/support/sync_stream.h>

#include "proto/channel.h"
#include "proto/chunk_frame.h"

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
    while (next_ < request_.chunks.size()) {
      const size_t before = next_;
      const std::string token = client_.CurrentToken();
      const absl::Status status = Try();
      if (!sink_error_.ok()) return sink_error_;
      if (status.ok()) continue;
      if (cancel_ != nullptr && cancel_->requested()) {
        return absl::CancelledError("the fetch was cancelled");
      }
      if (next_ > before) retry.Progressed();
      // Bytes may have been hurt on the way: they are asked for once more.
      const bool hurt = mismatch_ && damaged_at_ != next_;
      if (hurt) damaged_at_ = next_;
      const bool again = hurt || client_.TokenWasReplaced(status, token)
                             ? retry.AgainAnyway()
                             : retry.Again(status);
      if (!again) return client_.Translate(status);
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
    // Every chunk is compared here. Once one was not what it should be, the
    // daemon has to look whether it is the stored bytes.
    message.set_client_compares(!damaged_at_);
    message.mutable_chunks()->Add(request_.chunks.begin() + next_, request_.chunks.end());
    grpc::ClientContext context;
    client_.Authorize(context);
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
  std::optional<size_t> damaged_at_;  // where a chunk was last asked for again
  absl::Status sink_error_;
  Progress report_;
};

}  // namespace

std::vector<uint32_t> AllChunks(const Manifest& manifest) {
  std::vector<uint32_t> chunks(manifest.chunks.size());
  std::iota(chunks.begin(), chunks.end(), 0);
  return chunks;
}

absl::Status Fetch(Client& client, const FetchRequest& request, const ChunkSink& sink,
                   const ProgressFn& progress, Cancel* cancel) {
  if (request.manifest == nullptr) return BadField("manifest", "the fetch has no manifest");
  return Fetcher(client, request, sink, progress, cancel).Run();
}

}  // namespace ckpt
