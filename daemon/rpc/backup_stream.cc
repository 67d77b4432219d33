// BackUpCatalog: as a bulk stream, so that a client that stands still does not keep
// the catalog's log from being reused.
#include <algorithm>

#include "daemon/rpc/answer.h"
#include "daemon/rpc/service.h"
#include "proto/limits.h"

namespace ckptd {
namespace {

namespace v1 = ckpt::v1;

constexpr char kName[] = "BackUpCatalog";

absl::Status Send(WriteStream& stream, const v1::BackUpCatalogResponse& message) {
  const grpc::Slice bytes(message.SerializeAsString());
  if (stream.Write(grpc::ByteBuffer(&bytes, 1))) return absl::OkStatus();
  return absl::CancelledError("the client is gone");
}

// Of the catalog there is never more in memory than a frame of its file and the
// message that is on its way.
absl::Status SendBackup(const Guard& guard, WriteStream& stream, Caller caller) {
  v1::BackUpCatalogResponse message;
  ASSIGN_OR_RETURN(
      const ckpt::CatalogBackup backup,
      guard.store()->BackUpCatalog([&](std::span<const std::byte> bytes) -> absl::Status {
        RETURN_IF_ERROR(guard.tokens()->CheckAgain(caller));
        while (!bytes.empty()) {
          const auto part = bytes.first(std::min(bytes.size(), ckpt::kMaxBackupPartBytes));
          message.set_data(part.data(), part.size());
          RETURN_IF_ERROR(Send(stream, message));
          bytes = bytes.subspan(part.size());
        }
        return absl::OkStatus();
      }));
  message.clear_data();
  *message.mutable_backup() = ckpt::ToProto(backup);
  return Send(stream, message);
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* CheckpointsService::BackUpCatalog(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  const auto parsed = ReadRequest<v1::BackUpCatalogRequest>(*request);
  auto body = [this, context, parsed](WriteStream& stream) -> absl::Status {
    ASSIGN_OR_RETURN(const Caller caller, guard_.Identify(kName, *context));
    if (parsed == nullptr) {
      return ckpt::MakeError(absl::StatusCode::kInvalidArgument, ckpt::reason::kBadField,
                             "the request is no BackUpCatalogRequest");
    }
    RETURN_IF_ERROR(guard_.CheckNamed(kName, *context, caller, *parsed));
    const absl::Status status = SendBackup(guard_, stream, caller);
    guard_.Record(kName, *context, caller, *parsed, "", status);
    return status;
  };
  return new WriteStream(&threads_, context, idle_timeout_,
                         [body = std::move(body)](WriteStream& stream) {
                           absl::Status status = body(stream);
                           LogStreamEnd(kName, status);
                           return status;
                         });
}

}  // namespace ckptd
