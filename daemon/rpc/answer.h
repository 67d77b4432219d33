// What every call shares: the guard before it, the one place where a status
// leaves the daemon, and checks of fields that several requests have.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>

#include "ckpt/v1/service.pb.h"
#include "daemon/rpc/guard.h"
#include "daemon/store/store.h"
#include "proto/convert.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckptd {

// Converts the status of a call, and says in the log that it was refused.
grpc::Status Ended(const char* name, const absl::Status& status);

// Runs `call` if the guard admits who makes it, writes down what it came to where
// that is wanted, and converts its status. It may ask who makes it, by a `const
// Caller&`, and say the id of what it made, by a `std::string&` behind that.
template <typename Request, typename Call>
grpc::Status Answer(const char* name, const Guard& guard, const grpc::ServerContext* context,
                    const Request* request, const Call& call) {
  absl::StatusOr<Caller> caller = guard.Admit(name, *context, *request);
  if (!caller.ok()) return Ended(name, caller.status());
  std::string made;
  absl::Status status;
  if constexpr (std::is_invocable_v<Call, const Caller&, std::string&>) {
    status = call(*caller, made);
  } else if constexpr (std::is_invocable_v<Call, const Caller&>) {
    status = call(*caller);
  } else {
    status = call();
  }
  guard.Record(name, *context, *caller, *request, made, status);
  return Ended(name, status);
}
// The same log for a bulk stream, whose reactor converts the status; one that
// the client broke off is not said.
void LogStreamEnd(const char* name, const absl::Status& status);

// The request of a bulk stream, which gRPC leaves as it came; null where it is no
// such message.
template <typename Request>
std::shared_ptr<const Request> ReadRequest(const grpc::ByteBuffer& bytes) {
  auto request = std::make_shared<Request>();
  grpc::ByteBuffer copy = bytes;  // it is emptied
  if (!grpc::SerializationTraits<Request>::Deserialize(&copy, request.get()).ok()) return nullptr;
  return request;
}

// The id that the client gave the call (kRequestIdHeader), with what must be the
// same when it comes again; no id where the client gave none. Projects do not
// share ids: none can take another's. INVALID_ARGUMENT/BAD_FIELD for one that is
// no id.
absl::StatusOr<RequestKey> ReadRequestKey(const char* name, const grpc::ServerContext& context,
                                          const Caller& caller,
                                          const google::protobuf::Message& request);
// Whether the call was answered before; `response` is filled when it was.
absl::StatusOr<bool> AnsweredBefore(Store* store, const RequestKey& key,
                                    google::protobuf::Message* response);

// Answer for a call that changes something. Where a try of the same call has
// had its effect, its answer is given again; otherwise `call(once)` asks the
// store, and `convert` makes the response out of the result. A request with
// `dry_run` has no effect that could come twice.
template <typename Result, typename Request, typename Response, typename Convert, typename Call>
grpc::Status AnswerOnce(const char* name, const Guard& guard, const grpc::ServerContext* context,
                        const Request* request, Response* response, const Convert& convert,
                        const Call& call) {
  Store* const store = guard.store();
  return Answer(name, guard, context, request, [&](const Caller& caller) -> absl::Status {
    Once<Result> once;
    once.answer = [&](const Result& result) { return convert(result).SerializeAsString(); };
    bool dry_run = false;
    if constexpr (requires { request->dry_run(); }) dry_run = request->dry_run();
    if (!dry_run) {
      ASSIGN_OR_RETURN(once.request, ReadRequestKey(name, *context, caller, *request));
    }
    ASSIGN_OR_RETURN(bool answered, AnsweredBefore(store, once.request, response));
    if (answered) return absl::OkStatus();
    absl::StatusOr<Result> result = call(once);
    if (result.ok()) {
      *response = convert(*result);
      return absl::OkStatus();
    }
    // Another try may have come first, and this one be refused for what that did.
    ASSIGN_OR_RETURN(answered, AnsweredBefore(store, once.request, response));
    return answered ? absl::OkStatus() : result.status();
  });
}

// For `convert`.
template <typename Response>
Response WithCheckpoint(const ckpt::Checkpoint& checkpoint) {
  Response response;
  *response.mutable_checkpoint() = ckpt::ToProto(checkpoint);
  return response;
}
template <typename Response>
Response Empty(const Done&) {
  return {};
}

// Metrics by name: names checked, none twice, at most kMaxMetrics.
absl::StatusOr<ckpt::Metrics> ParseMetrics(
    const google::protobuf::RepeatedPtrField<ckpt::v1::Metric>& metrics);

// A project's name; empty: the default one.
absl::StatusOr<std::string> ParseProject(const std::string& name);

// 0 is the default size; more than the maximum is cut to it.
uint32_t PageSize(uint32_t requested);
// A page token is the decimal id to go on before; empty: 0.
absl::StatusOr<uint64_t> ParsePageToken(const std::string& token);
absl::Status BadPageToken(const std::string& token);

}  // namespace ckptd
