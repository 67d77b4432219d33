#include "client/client.h"

#include <algorithm>

#include <grpcpp/create_channel.h>

#include "client/address.h"
#include "client/call.h"
#include "proto/channel.h"
#include "proto/convert.h"

namespace ckpt {
namespace {

using Stub = v1::Checkpoints::Stub;

template <typename Message>
void AddMetrics(Message& message, const Metrics& metrics) {
  for (const auto& [name, value] : metrics) {
    v1::Metric& metric = *message.add_metrics();
    metric.set_name(name);
    metric.set_value(value);
  }
}

ShardCommit ToCommit(const v1::CommitShardResponse& message) {
  ShardCommit commit{.shards_durable = message.shards_durable(),
                     .world_size = message.world_size()};
  if (message.has_checkpoint()) commit.checkpoint = FromProto(message.checkpoint());
  return commit;
}

// Sleeps between tries while the channel connects. gRPC connects only as long
// as somebody polls; between calls that fail at once nobody would, but for a
// poller of gRPC's own that comes by every five seconds.
void SleepConnecting(grpc::Channel& channel, absl::Duration duration, const Cancel* cancel) {
  constexpr absl::Duration kSlice = absl::Milliseconds(50);  // between looks at `cancel`
  const absl::Time end = absl::Now() + duration;
  for (absl::Time now = absl::Now(); now < end; now = absl::Now()) {
    if (cancel != nullptr && cancel->requested()) return;
    if (channel.WaitForConnected(absl::ToChronoTime(std::min(end, now + kSlice)))) {
      return RetryWorld::Real().sleep(end - absl::Now(), cancel);
    }
  }
}

}  // namespace

Client::Client(ClientOptions given, std::string address, Credentials credentials)
    : given_(std::move(given)), options_(given_), token_(std::move(credentials.token)) {
  options_.address = std::move(address);
  grpc::ChannelArguments arguments = TunedChannelArguments();
  // A proxy for the web is none for the daemon beside the job.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Each client its own connection: they do not share one's window.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  channel_ = grpc::CreateCustomChannel(options_.address, credentials.channel, arguments);
  stub_ = v1::Checkpoints::NewStub(channel_);
  RetryWorld real = RetryWorld::Real();
  RetryWorld& world = options_.world;
  if (!world.now) world.now = std::move(real.now);
  if (!world.uniform) world.uniform = std::move(real.uniform);
  if (!world.new_id) world.new_id = std::move(real.new_id);
  if (!world.sleep) {
    world.sleep = [channel = channel_](absl::Duration duration, const Cancel* cancel) {
      SleepConnecting(*channel, duration, cancel);
    };
  }
}

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(ClientOptions options) {
  ASSIGN_OR_RETURN(const ResolvedAddress resolved, ResolveAddress(options.address));
  ASSIGN_OR_RETURN(Credentials credentials,
                   ResolveCredentials(options.credentials, resolved.address, ProcessEnvironment()));
  return std::unique_ptr<Client>(
      new Client(std::move(options), resolved.address, std::move(credentials)));
}

void Client::Authorize(grpc::ClientContext& context) const {
  const std::string token = CurrentToken();
  if (!token.empty()) context.AddMetadata(kTokenHeader, kTokenScheme + token);
}

std::string Client::CurrentToken() const { return token_->Current(); }

bool Client::TokenWasReplaced(const absl::Status& status, const std::string& sent) const {
  return HasReason(status, reason::kTokenInvalid) && CurrentToken() != sent;
}

absl::Status Client::Translate(const absl::Status& status) const {
  if (status.ok() || !ReasonOf(status).empty()) return status;
  if (status.code() == absl::StatusCode::kUnimplemented) {
    return MakeError(status.code(), reason::kInternal,
                     fmt::format("what answers at {} does not know this call: it is no ckptd, or "
                                 "one of another version ({})",
                                 options_.address, std::string(status.message())));
  }
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    return MakeError(status.code(), reason::kUnreachable,
                     fmt::format("ckptd at {} did not answer in time; is it overloaded, or is "
                                 "something else at this address?",
                                 options_.address));
  }
  if (!IsRetryable(status)) return status;
  return Unreachable(options_.address, std::string(status.message()));
}

// ---- Training: push ------------------------------------------------------------

absl::StatusOr<OpenedAttempt> Client::OpenAttempt(const RunName& run, const std::string& launch_id,
                                                  uint32_t world_size,
                                                  const std::optional<Policy>& initial_policy,
                                                  bool must_exist) {
  v1::OpenAttemptRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_launch_id(launch_id);
  request.set_world_size(world_size);
  if (initial_policy.has_value()) *request.mutable_initial_policy() = ToProto(*initial_policy);
  request.set_must_exist(must_exist);
  ASSIGN_OR_RETURN(const v1::OpenAttemptResponse response, Call(&Stub::OpenAttempt, request));
  return OpenedAttempt{.attempt = FromProto(response.attempt()),
                       .run = FromProto(response.run()),
                       .run_created = response.run_created()};
}

absl::StatusOr<OpenedUpload> Client::OpenUpload(const ShardOffer& offer, const TryOptions& tries) {
  v1::OpenUploadRequest request;
  *request.mutable_run() = ToProto(offer.run);
  request.set_attempt(offer.attempt);
  request.set_step(offer.step);
  request.set_rank(offer.rank);
  *request.mutable_manifest() = ToProto(*offer.manifest);
  AddMetrics(request, offer.metrics);
  for (const std::string& name : offer.pending_metrics) request.add_pending_metrics(name);
  request.mutable_labels()->insert(offer.labels.begin(), offer.labels.end());
  ASSIGN_OR_RETURN(const v1::OpenUploadResponse response,
                   Call(&Stub::OpenUpload, request, options_.long_call_deadline, tries));
  OpenedUpload upload{
      .upload_id = response.upload_id(),
      .missing_chunks = {response.missing_chunks().begin(), response.missing_chunks().end()},
      .missing_bytes = response.missing_bytes()};
  if (response.has_result()) upload.result = ToCommit(response.result());
  return upload;
}

absl::StatusOr<ShardCommit> Client::CommitShard(const std::string& upload_id,
                                                const TryOptions& tries) {
  v1::CommitShardRequest request;
  request.set_upload_id(upload_id);
  ASSIGN_OR_RETURN(const v1::CommitShardResponse response,
                   Call(&Stub::CommitShard, request, options_.long_call_deadline, tries));
  return ToCommit(response);
}

absl::Status Client::AbortUpload(const std::string& upload_id) {
  v1::AbortUploadRequest request;
  request.set_upload_id(upload_id);
  return Call(&Stub::AbortUpload, request).status();
}

absl::StatusOr<Checkpoint> Client::AttachMetrics(const RunName& run, uint64_t checkpoint_id,
                                                 const Metrics& metrics) {
  v1::AttachMetricsRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_checkpoint_id(checkpoint_id);
  AddMetrics(request, metrics);
  ASSIGN_OR_RETURN(const v1::AttachMetricsResponse response, Call(&Stub::AttachMetrics, request));
  return FromProto(response.checkpoint());
}

// ---- Training: resume ----------------------------------------------------------

absl::StatusOr<ResumeAnswer> Client::Resume(const ResumeQuery& query) {
  v1::ResumeRequest request;
  *request.mutable_run() = ToProto(query.run);
  request.set_attempt(query.attempt);
  request.set_rank(query.rank);
  *request.mutable_selector() = ToProto(query.selector);
  request.set_require_resume(query.require_resume);
  if (query.from_run.has_value()) *request.mutable_from_run() = ToProto(*query.from_run);
  ASSIGN_OR_RETURN(const v1::ResumeResponse response, Call(&Stub::Resume, request));
  ResumeAnswer answer{.explanation = response.explanation(),
                      .ticket_id = response.ticket_id(),
                      .ticket_expires_at = FromProto(response.ticket_expires_at())};
  switch (response.outcome()) {
    case v1::ResumeResponse::NEW_RUN:
      answer.outcome = ResumeOutcome::kNewRun;
      return answer;
    case v1::ResumeResponse::FOUND:
      answer.outcome = ResumeOutcome::kFound;
      break;
    case v1::ResumeResponse::DAMAGED:
      answer.outcome = ResumeOutcome::kDamaged;
      break;
    default:
      return MakeError(absl::StatusCode::kInternal, reason::kInternal,
                       fmt::format("ckptd answered a resume with outcome {}, which this version "
                                   "does not know: use a newer client",
                                   static_cast<int>(response.outcome())));
  }
  // Never a silent start from scratch.
  if (!response.has_checkpoint()) {
    return MakeError(absl::StatusCode::kInternal, reason::kInternal,
                     "ckptd answered a resume without the checkpoint to resume from");
  }
  answer.checkpoint = FromProto(response.checkpoint());
  return answer;
}

absl::Status Client::ReportLoad(const LoadReport& report) {
  v1::ReportLoadRequest request;
  request.set_ticket_id(report.ticket_id);
  request.set_rank(report.rank);
  request.set_ok(report.ok);
  request.set_error(report.error);
  request.set_checkpoint_at_fault(report.checkpoint_at_fault);
  return Call(&Stub::ReportLoad, request).status();
}

// ---- Reading ---------------------------------------------------------------------

absl::StatusOr<Resolved> Client::Resolve(const RunName& run, const Selector& selector,
                                         bool include_removed) {
  v1::ResolveRequest request;
  *request.mutable_run() = ToProto(run);
  *request.mutable_selector() = ToProto(selector);
  request.set_include_removed(include_removed);
  ASSIGN_OR_RETURN(const v1::ResolveResponse response, Call(&Stub::Resolve, request));
  return Resolved{.checkpoint = FromProto(response.checkpoint()),
                  .explanation = response.explanation()};
}

absl::StatusOr<Manifest> Client::GetManifest(uint64_t checkpoint_id, uint32_t rank) {
  v1::GetManifestRequest request;
  request.set_checkpoint_id(checkpoint_id);
  request.set_rank(rank);
  ASSIGN_OR_RETURN(const v1::GetManifestResponse response, Call(&Stub::GetManifest, request));
  return FromProto(response.manifest());
}

}  // namespace ckpt
