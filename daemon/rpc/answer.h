// What every call shares: the one place where a status leaves the daemon, and
// checks of fields that several requests have.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <grpcpp/server_context.h>

#include "ckpt/v1/service.pb.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckptd {

// Runs `call` and converts its status; failures go to the log with `name`.
grpc::Status Answer(const char* name, const std::function<absl::Status()>& call);
// The same log for a bulk stream, whose reactor converts the status; one that
// the client broke off is not said.
void LogStreamEnd(const char* name, const absl::Status& status);

// Metrics by name: names checked, none twice, at most kMaxMetrics.
absl::StatusOr<ckpt::Metrics> ParseMetrics(
    const google::protobuf::RepeatedPtrField<ckpt::v1::Metric>& metrics);

// 0 is the default size; more than the maximum is cut to it.
uint32_t PageSize(uint32_t requested);
// A page token is the decimal id to go on before; empty: 0.
absl::StatusOr<uint64_t> ParsePageToken(const std::string& token);
absl::Status BadPageToken(const std::string& token);

}  // namespace ckptd
