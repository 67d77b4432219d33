#include "client/upload.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

#include <grpcpp/support/sync_stream.h>

#include "proto/channel.h"
#include "proto/chunk_frame.h"
#include "proto/chunking.h"

namespace ckpt {
namespace {

// What the daemon forgot or gave up may be offered again this often.
constexpr int kMaxReopens = 5;

// Counts slices that gRPC still holds of the caller's memory. After a
// cancelled call its transport may keep some for a while.
class Borrowed {
 public:
  // The caller may reuse its memory once this has been destroyed.
  ~Borrowed() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](int* count) { return *count == 0; }, &count_));
  }
  grpc::Slice Lend(std::span<const std::byte> bytes) {
    {
      absl::MutexLock lock(&mutex_);
      ++count_;
    }
    return BorrowSlice(
        bytes.data(), bytes.size(),
        [](void* self) {
          auto* borrowed = static_cast<Borrowed*>(self);
          absl::MutexLock lock(&borrowed->mutex_);
          --borrowed->count_;
        },
        this);
  }

 private:
  absl::Mutex mutex_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
};

// One shard on its way, over as many tries as it takes.
class Pusher {
 public:
  Pusher(Client& client, const PushRequest& request, const ProgressFn& progress, Cancel* cancel)
      : client_(client),
        request_(request),
        manifest_(*request.offer.manifest),
        progress_(progress),
        cancel_(cancel),
        retry_(client.options().retry, client.options().world, cancel),
        offsets_(ChunkOffsets(manifest_)) {
    result_.total_bytes = offsets_.back();
  }

  absl::StatusOr<PushResult> Run() {
    if (const auto* bytes = std::get_if<std::span<const std::byte>>(&request_.source);
        bytes != nullptr && bytes->size() != offsets_.back()) {
      return BadField("source", fmt::format("the manifest has {} bytes, the source {}",
                                            offsets_.back(), bytes->size()));
    }
    while (true) {
      const std::string token = client_.CurrentToken();
      const absl::Status status = Try();
      if (status.ok()) return std::move(result_);
      if (cancel_ != nullptr && cancel_->requested()) {
        return absl::CancelledError("the push was cancelled");
      }
      if (!source_error_.ok()) return source_error_;
      if (gave_up_) return client_.Translate(failure_);
      failure_ = status;
      if (std::exchange(streamed_, false)) retry_.MayHaveProgressed();
      const bool again = CanReopen(status) || client_.TokenWasReplaced(status, token)
                             ? retry_.AgainAnyway()
                             : retry_.Again(status);
      if (!again) return client_.Translate(status);
    }
  }

 private:
  // The daemon lost the upload, or could not make it durable: it takes the
  // same offer again.
  bool CanReopen(const absl::Status& status) {
    const std::string why = ReasonOf(status);
    if (why != reason::kUploadNotFound && why != reason::kUploadFailed &&
        why != reason::kChunksMissing) {
      return false;
    }
    least_missing_ = kUnknown;  // what was there may have to be sent again
    return ++reopens_ <= kMaxReopens;
  }

  absl::Status Try() {
    ASSIGN_OR_RETURN(const OpenedUpload upload,
                     client_.OpenUpload(request_.offer, {.cancel = cancel_, .retry = false}));
    if (upload.result.has_value()) return Done(*upload.result);
    uint64_t missing = 0;
    for (const uint32_t index : upload.missing_chunks) {
      if (index >= manifest_.chunks.size()) {
        return MakeError(absl::StatusCode::kInternal, reason::kInternal,
                         fmt::format("ckptd asked for chunk {} of a shard of {}", index,
                                     manifest_.chunks.size()));
      }
      missing += manifest_.chunks[index].length;
    }
    gave_up_ = !retry_.Judge(missing < least_missing_);
    if (gave_up_) return failure_;
    least_missing_ = std::min(least_missing_, missing);
    report_.total_bytes = std::max(report_.total_bytes, missing);
    report_.done_bytes = report_.total_bytes - missing;
    if (progress_) progress_(report_);
    if (!upload.missing_chunks.empty()) RETURN_IF_ERROR(Stream(upload));
    ASSIGN_OR_RETURN(const ShardCommit commit,
                     client_.CommitShard(upload.upload_id, {.cancel = cancel_, .retry = false}));
    return Done(commit);
  }

  absl::Status Done(const ShardCommit& commit) {
    result_.checkpoint = commit.checkpoint;
    result_.shards_durable = commit.shards_durable;
    result_.world_size = commit.world_size;
    return absl::OkStatus();
  }

  // Everything that is missing, in one stream.
  absl::Status Stream(const OpenedUpload& upload) {
    static const grpc::internal::RpcMethod kMethod(kPushChunksMethod,
                                                   grpc::internal::RpcMethod::CLIENT_STREAMING);
    Borrowed borrowed;  // outlives the call
    grpc::ClientContext context;
    client_.Authorize(context);
    Cancel::Scope scope(cancel_, [&context] { context.TryCancel(); });
    v1::PushChunksResponse response;
    const std::unique_ptr<grpc::ClientWriter<grpc::ByteBuffer>> writer(
        grpc::internal::ClientWriterFactory<grpc::ByteBuffer>::Create(
            client_.channel().get(), kMethod, &context, &response));
    ChunkFrame frame;
    frame.upload_id = upload.upload_id;
    bool open = true;
    for (const uint32_t index : upload.missing_chunks) {
      absl::StatusOr<grpc::Slice> slice = Chunk(index, borrowed);
      if (!slice.ok()) {
        source_error_ = slice.status();
        context.TryCancel();
        open = false;
        break;
      }
      frame.chunk_index = index;
      frame.data = {*std::move(slice)};
      open = writer->Write(EncodeFrame(frame));
      streamed_ = streamed_ || open;
      frame.data.clear();
      if (!open) break;  // Finish says why
      frame.upload_id.clear();
      result_.sent_bytes += manifest_.chunks[index].length;
      report_.done_bytes += manifest_.chunks[index].length;
      if (progress_) progress_(report_);
    }
    if (open) {
      frame.chunk_index = 0;
      frame.end = true;
      open = writer->Write(EncodeFrame(frame)) && writer->WritesDone();
    }
    const absl::Status status = FromGrpc(writer->Finish());
    if (status.ok() && !open) return absl::UnavailableError("the stream ended before its time");
    return status;
  }

  absl::StatusOr<grpc::Slice> Chunk(uint32_t index, Borrowed& borrowed) {
    const uint32_t length = manifest_.chunks[index].length;
    if (const auto* bytes = std::get_if<std::span<const std::byte>>(&request_.source)) {
      return borrowed.Lend(bytes->subspan(offsets_[index], length));
    }
    auto* memory = static_cast<std::byte*>(std::malloc(length));
    if (memory == nullptr) {
      return MakeError(absl::StatusCode::kResourceExhausted, reason::kNoSpace,
                       "no memory for a chunk");
    }
    grpc::Slice slice(memory, length, std::free);
    RETURN_IF_ERROR(
        std::get<ChunkReader>(request_.source)(index, offsets_[index], {memory, length}));
    return slice;
  }

  Client& client_;
  const PushRequest& request_;
  const Manifest& manifest_;
  const ProgressFn& progress_;
  Cancel* cancel_;
  Retry retry_;
  const std::vector<uint64_t> offsets_;
  int reopens_ = 0;
  // Bytes that the daemon lacked when it had most of them.
  static constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();
  uint64_t least_missing_ = kUnknown;
  bool streamed_ = false;  // the last try sent chunks, and whether they arrived is open
  bool gave_up_ = false;   // with what the try before failed of
  absl::Status failure_;
  absl::Status source_error_;
  Progress report_;
  PushResult result_;
};

}  // namespace

absl::StatusOr<PushResult> Push(Client& client, const PushRequest& request,
                                const ProgressFn& progress, Cancel* cancel) {
  if (request.offer.manifest == nullptr) return BadField("manifest", "the push has no manifest");
  return Pusher(client, request, progress, cancel).Run();
}

}  // namespace ckpt
