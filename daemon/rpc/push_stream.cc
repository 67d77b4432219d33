// PushChunks: chunk frames as byte buffers.
#include "daemon/rpc/answer.h"
#include "daemon/rpc/service.h"
#include "proto/chunk_frame.h"

namespace ckptd {
namespace {

namespace v1 = ckpt::v1;

absl::Status BadFrame(const std::string& text) {
  return ckpt::MakeError(absl::StatusCode::kInvalidArgument, ckpt::reason::kBadFrame, text);
}

constexpr char kName[] = "PushChunks";

absl::Status ReceiveChunks(const Guard& guard, ReadStream& stream,
                           const grpc::CallbackServerContext& context,
                           v1::PushChunksResponse& totals) {
  Store& store = *guard.store();
  ASSIGN_OR_RETURN(Caller caller, guard.Identify(kName, context));
  std::shared_ptr<Upload> upload;
  grpc::ByteBuffer buffer;
  while (stream.Read(&buffer)) {
    ASSIGN_OR_RETURN(ckpt::ChunkFrame frame, ckpt::DecodeFrame(buffer));
    buffer.Clear();
    RETURN_IF_ERROR(guard.tokens()->CheckAgain(caller));
    if (upload == nullptr) {
      if (frame.upload_id.empty()) {
        return BadFrame("the first frame of a chunk stream has no upload id");
      }
      v1::ChunkFrame named;
      named.set_upload_id(frame.upload_id);
      RETURN_IF_ERROR(guard.CheckNamed(kName, context, caller, named));
      ASSIGN_OR_RETURN(upload, store.FindUpload(frame.upload_id));
    }
    if (frame.end) return absl::OkStatus();
    store.metrics().received_chunks.Add();
    store.metrics().received_bytes.Add(frame.data_bytes());
    std::vector<std::span<const std::byte>> parts;
    parts.reserve(frame.data.size());
    for (const grpc::Slice& slice : frame.data) {
      parts.push_back({reinterpret_cast<const std::byte*>(slice.begin()), slice.size()});
    }
    absl::Status appended = upload->Append(frame.chunk_index, parts);
    if (!appended.ok()) {
      if (upload->dead()) store.AbandonPack(upload);
      return appended;
    }
    totals.set_chunks(totals.chunks() + 1);
    totals.set_bytes(totals.bytes() + frame.data_bytes());
  }
  RETURN_IF_ERROR(stream.CheckIdle());
  if (context.IsCancelled()) return absl::CancelledError("the line broke");
  return BadFrame("the chunk stream stopped without a frame that says it is the end; what came "
                  "before is kept");
}

}  // namespace

grpc::ServerReadReactor<grpc::ByteBuffer>* CheckpointsService::PushChunks(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  // Where it never begins, it is because too many are under way.
  auto meter =
      std::make_shared<CallMeter>(store_->metrics(), kName, absl::StatusCode::kUnavailable);
  auto body = [this, context, response, meter](ReadStream& stream) -> absl::Status {
    v1::PushChunksResponse totals;
    absl::Status status = ReceiveChunks(guard_, stream, *context, totals);
    meter->End(status.code());
    LogStreamEnd(kName, status);
    bool own_buffer;
    grpc::SerializationTraits<v1::PushChunksResponse>::Serialize(totals, response, &own_buffer);
    return status;
  };
  return new ReadStream(&threads_, idle_timeout_, std::move(body));
}

}  // namespace ckptd
