// What every call shares: the one place where a status leaves the daemon, and
// checks of fields that several requests have.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <grpcpp/server_context.h>

#include "ckpt/v1/service.pb.h"
#include "daemon/store/store.h"
#include "proto/convert.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckptd {

// Runs `call` and converts its status; failures go to the log with `name`.
grpc::Status Answer(const char* name, const std::function<absl::Status()>& call);
// The same log for a bulk stream, whose reactor converts the status; one that
// the client broke off is not said.
void LogStreamEnd(const char* name, const absl::Status& status);

// The id that the client gave the call (kRequestIdHeader), with what must be the
// same when it comes again; no id where the client gave none.
// INVALID_ARGUMENT/BAD_FIELD for one that is no id.
absl::StatusOr<RequestKey> ReadRequestKey(const char* name, const grpc::ServerContext& context,
                                          const google::protobuf::Message& request);
// Whether the call was answered before; `response` is filled when it was.
absl::StatusOr<bool> AnsweredBefore(Store* store, const RequestKey& key,
                                    google::protobuf::Message* response);

// Answer for a call that changes something. Where a try of the same call has
// had its effect, its answer is given again; otherwise `call(once)` asks the
// store, and `convert` makes the response out of the result. A request with
// `dry_run` has no effect that could come twice.
template <typename Result, typename Request, typename Response, typename Convert, typename Call>
grpc::Status AnswerOnce(const char* name, Store* store, const grpc::ServerContext* context,
                        const Request* request, Response* response, const Convert& convert,
                        const Call& call) {
  return Answer(name, [&]() -> absl::Status {
    Once<Result> once;
    once.answer = [&](const Result& result) { return convert(result).SerializeAsString(); };
    bool dry_run = false;
    if constexpr (requires { request->dry_run(); }) dry_run = request->dry_run();
    if (!dry_run) {
      ASSIGN_OR_RETURN(once.request, ReadRequestKey(name, *context, *request));
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

// 0 is the default size; more than the maximum is cut to it.
uint32_t PageSize(uint32_t requested);
// A page token is the decimal id to go on before; empty: 0.
absl::StatusOr<uint64_t> ParsePageToken(const std::string& token);
absl::Status BadPageToken(const std::string& token);

}  // namespace ckptd
