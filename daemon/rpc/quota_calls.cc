#include "daemon/rpc/answer.h"
#include "daemon/rpc/service.h"
#include "proto/convert.h"

namespace ckptd {

namespace v1 = ckpt::v1;

grpc::Status CheckpointsService::GetQuota(grpc::ServerContext* context,
                                          const v1::GetQuotaRequest* request,
                                          v1::GetQuotaResponse* response) {
  return Answer("GetQuota", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::string project, ParseProject(request->project()));
    ASSIGN_OR_RETURN(const ckpt::Quota quota, store_->GetQuota(project));
    *response->mutable_quota() = ckpt::ToProto(quota);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::SetQuota(grpc::ServerContext* context,
                                          const v1::SetQuotaRequest* request,
                                          v1::SetQuotaResponse* response) {
  return AnswerOnce<ckpt::Quota>(
      "SetQuota", guard_, context, request, response,
      [](const ckpt::Quota& quota) {
        v1::SetQuotaResponse set;
        *set.mutable_quota() = ckpt::ToProto(quota);
        return set;
      },
      [&](const Once<ckpt::Quota>& once) -> absl::StatusOr<ckpt::Quota> {
        ASSIGN_OR_RETURN(const std::string project, ParseProject(request->project()));
        ASSIGN_OR_RETURN(const ckpt::QuotaChange change, ckpt::FromProto(*request));
        return store_->SetQuota(project, change, once);
      });
}

}  // namespace ckptd
