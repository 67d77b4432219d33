// Between the messages of ckpt.v1 and the structs of model.h.
//
// Out of a message everything is checked that can be checked without state:
// what comes back is well-formed. In an error `field` paths begin with `path`.
#pragma once

#include <optional>
#include <string_view>

#include "ckpt/v1/service.pb.h"
#include "ckpt/v1/types.pb.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckpt {

v1::Manifest ToProto(const Manifest& manifest);
absl::StatusOr<Manifest> FromProto(const v1::Manifest& message);  // CheckManifest passed

v1::Policy ToProto(const Policy& policy);
absl::StatusOr<Policy> FromProto(const v1::Policy& message);  // CheckPolicy passed
// Zero rules, a best rule without metric or mode, two for one metric:
// INVALID_ARGUMENT/BAD_POLICY.
absl::Status CheckPolicy(const Policy& policy);

v1::Selector ToProto(const Selector& selector);
absl::StatusOr<Selector> FromProto(const v1::Selector& message);  // unset: latest

v1::RunRef ToProto(const RunName& run);
absl::StatusOr<RunName> FromProto(const v1::RunRef& message);  // names checked

v1::Checkpoint ToProto(const Checkpoint& checkpoint);
Checkpoint FromProto(const v1::Checkpoint& message);
v1::Run ToProto(const Run& run);
Run FromProto(const v1::Run& message);
v1::Attempt ToProto(const Attempt& attempt);
Attempt FromProto(const v1::Attempt& message);
v1::Timeline ToProto(const Timeline& timeline);
Timeline FromProto(const v1::Timeline& message);
v1::Event ToProto(const Event& event);
Event FromProto(const v1::Event& message);
v1::Budget ToProto(const Budget& budget);
Budget FromProto(const v1::Budget& message);
v1::Scrub ToProto(const Scrub& scrub);
Scrub FromProto(const v1::Scrub& message);
v1::Quota ToProto(const Quota& quota);
Quota FromProto(const v1::Quota& message);
v1::SetQuotaRequest ToProto(const std::string& project, const QuotaChange& change);
// INVALID_ARGUMENT for a limit of zero.
absl::StatusOr<QuotaChange> FromProto(const v1::SetQuotaRequest& message);
v1::Token ToProto(const Token& token);
Token FromProto(const v1::Token& message);
v1::CreateTokenRequest ToProto(const TokenSpec& spec);
absl::StatusOr<TokenSpec> FromProto(const v1::CreateTokenRequest& message);  // all checked
v1::CatalogBackup ToProto(const CatalogBackup& backup);
// Nothing where its digest is none.
std::optional<CatalogBackup> FromProto(const v1::CatalogBackup& message);
v1::GetStatsResponse ToProto(const Stats& stats);
Stats FromProto(const v1::GetStatsResponse& message);

// What a pack was written for, kept in the pack itself: a serialized
// ckpt.v1.OpenUploadRequest.
struct UploadNote {
  RunName run;
  uint64_t attempt = 0;
  uint64_t step = 0;
  uint32_t rank = 0;
  const Manifest* manifest = nullptr;
  Metrics metrics;
  std::map<std::string, std::string> labels;
};
std::string SerializeNote(const UploadNote& note);

google::protobuf::Timestamp ToProto(absl::Time time);
absl::Time FromProto(const google::protobuf::Timestamp& message);
google::protobuf::Duration ToProto(absl::Duration duration);
absl::Duration FromProto(const google::protobuf::Duration& message);

}  // namespace ckpt
