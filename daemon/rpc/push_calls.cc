#include <fmt/format.h>

#include "daemon/rpc/answer.h"
#include "daemon/rpc/service.h"
#include "proto/convert.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckptd {
namespace {

namespace v1 = ckpt::v1;

absl::Status CheckLabels(const google::protobuf::Map<std::string, std::string>& labels) {
  if (labels.size() > ckpt::kMaxLabels) {
    return ckpt::BadField("labels", fmt::format("{} labels, but at most {} are allowed",
                                                labels.size(), ckpt::kMaxLabels));
  }
  for (const auto& [key, value] : labels) {
    if (key.empty() || key.size() + value.size() > ckpt::kMaxLabelBytes) {
      return ckpt::BadField("labels", fmt::format("label \"{}\" is empty or has more than {} bytes "
                                                  "with its value", ckpt::Printable(key),
                                                  ckpt::kMaxLabelBytes));
    }
  }
  return absl::OkStatus();
}

void ToProto(const Store::ShardResult& result, v1::CommitShardResponse* response) {
  response->set_shards_durable(result.shards_durable);
  response->set_world_size(result.world_size);
  if (result.checkpoint) *response->mutable_checkpoint() = ckpt::ToProto(*result.checkpoint);
}

v1::OpenAttemptResponse AttemptOpened(const Store::OpenedAttempt& opened) {
  v1::OpenAttemptResponse response;
  *response.mutable_attempt() = ckpt::ToProto(opened.attempt);
  *response.mutable_run() = ckpt::ToProto(opened.run);
  response.set_run_created(opened.run_created);
  return response;
}

absl::StatusOr<Store::UploadRequest> Parse(const v1::OpenUploadRequest& request) {
  Store::UploadRequest upload;
  ASSIGN_OR_RETURN(upload.run, ckpt::FromProto(request.run()));
  upload.attempt = request.attempt();
  if (request.step() > static_cast<uint64_t>(INT64_MAX)) {
    return ckpt::BadField("step", fmt::format("step {} is too large: at most {} is allowed",
                                              request.step(), INT64_MAX));
  }
  upload.step = request.step();
  upload.rank = request.rank();
  ASSIGN_OR_RETURN(upload.manifest, ckpt::FromProto(request.manifest()));
  ASSIGN_OR_RETURN(upload.metrics, ParseMetrics(request.metrics()));
  if (static_cast<size_t>(request.pending_metrics_size()) > ckpt::kMaxMetrics) {
    return ckpt::BadField("pending_metrics",
                          fmt::format("{} metrics, but at most {} are allowed",
                                      request.pending_metrics_size(), ckpt::kMaxMetrics));
  }
  for (const std::string& name : request.pending_metrics()) {
    RETURN_IF_ERROR(ckpt::CheckLabelName("metric", name));
    if (!upload.metrics.contains(name)) upload.pending_metrics.insert(name);
  }
  RETURN_IF_ERROR(CheckLabels(request.labels()));
  upload.labels.insert(request.labels().begin(), request.labels().end());
  return upload;
}

}  // namespace

grpc::Status CheckpointsService::OpenAttempt(grpc::ServerContext* context,
                                             const v1::OpenAttemptRequest* request,
                                             v1::OpenAttemptResponse* response) {
  using Opened = Store::OpenedAttempt;
  return AnswerOnce<Opened>(
      "OpenAttempt", guard_, context, request, response, AttemptOpened,
      [&](const Once<Opened>& once) -> absl::StatusOr<Opened> {
        ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
        RETURN_IF_ERROR(ckpt::CheckLabelName("launch id", request->launch_id()));
        if (request->world_size() == 0 || request->world_size() > ckpt::kMaxWorldSize) {
          return ckpt::BadField("world_size",
                                fmt::format("world size {} is not allowed: give 1 to {}",
                                            request->world_size(), ckpt::kMaxWorldSize));
        }
        std::optional<ckpt::Policy> policy;
        if (request->has_initial_policy()) {
          ASSIGN_OR_RETURN(policy, ckpt::FromProto(request->initial_policy()));
        }
        return store_->OpenAttempt(run, request->launch_id(), request->world_size(), policy,
                                   request->must_exist(), once);
      });
}

grpc::Status CheckpointsService::OpenUpload(grpc::ServerContext* context,
                                            const v1::OpenUploadRequest* request,
                                            v1::OpenUploadResponse* response) {
  return Answer("OpenUpload", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(Store::UploadRequest upload, Parse(*request));
    ASSIGN_OR_RETURN(Store::OpenedUpload opened, store_->OpenUpload(std::move(upload)));
    response->set_upload_id(opened.upload_id);
    response->mutable_missing_chunks()->Add(opened.missing_chunks.begin(),
                                            opened.missing_chunks.end());
    response->set_missing_bytes(opened.missing_bytes);
    if (opened.result) ToProto(*opened.result, response->mutable_result());
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::CommitShard(grpc::ServerContext* context,
                                             const v1::CommitShardRequest* request,
                                             v1::CommitShardResponse* response) {
  return Answer("CommitShard", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(Store::ShardResult result, store_->CommitShard(request->upload_id()));
    ToProto(result, response);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::AbortUpload(grpc::ServerContext* context,
                                             const v1::AbortUploadRequest* request,
                                             v1::AbortUploadResponse* response) {
  return AnswerOnce<Done>("AbortUpload", guard_, context, request, response,
                          Empty<v1::AbortUploadResponse>,
                          [&](const Once<Done>& once) -> absl::StatusOr<Done> {
                            RETURN_IF_ERROR(store_->AbortUpload(request->upload_id(), once));
                            return Done{};
                          });
}

grpc::Status CheckpointsService::AttachMetrics(grpc::ServerContext* context,
                                               const v1::AttachMetricsRequest* request,
                                               v1::AttachMetricsResponse* response) {
  return AnswerOnce<ckpt::Checkpoint>(
      "AttachMetrics", guard_, context, request, response,
      WithCheckpoint<v1::AttachMetricsResponse>,
      [&](const Once<ckpt::Checkpoint>& once) -> absl::StatusOr<ckpt::Checkpoint> {
        ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
        ASSIGN_OR_RETURN(ckpt::Metrics metrics, ParseMetrics(request->metrics()));
        return store_->AttachMetrics(run, request->checkpoint_id(), metrics, once);
      });
}

}  // namespace ckptd
