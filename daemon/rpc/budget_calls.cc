#include "daemon/rpc/answer.h"
#include "daemon/rpc/service.h"
#include "proto/convert.h"

namespace ckptd {
namespace {

namespace v1 = ckpt::v1;

// Absent: the daemon's default; 0: none.
absl::StatusOr<std::optional<uint64_t>> ParseBudget(const v1::SetBudgetRequest& request) {
  switch (request.budget_case()) {
    case v1::SetBudgetRequest::kBytes:
      if (request.bytes() > 0) return request.bytes();
      return ckpt::BadField("bytes",
                            "a budget of zero would keep nothing but the newest; say none "
                            "for no budget");
    case v1::SetBudgetRequest::kNone:
      return uint64_t{0};
    case v1::SetBudgetRequest::kUseDefault:
      return std::nullopt;
    case v1::SetBudgetRequest::BUDGET_NOT_SET:
      break;
  }
  return ckpt::BadField("budget", "say how many bytes, none, or use_default");
}

v1::SetBudgetResponse BudgetSet(const Store::BudgetResult& result) {
  v1::SetBudgetResponse response;
  *response.mutable_budget() = ckpt::ToProto(result.budget);
  for (const auto& c : result.checkpoints) *response.add_checkpoints() = ckpt::ToProto(c);
  response.set_freed_bytes(result.freed_bytes);
  return response;
}

}  // namespace

grpc::Status CheckpointsService::GetBudget(grpc::ServerContext* context,
                                           const v1::GetBudgetRequest* request,
                                           v1::GetBudgetResponse* response) {
  return Answer("GetBudget", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::string project, ParseProject(request->project()));
    ASSIGN_OR_RETURN(const ckpt::Budget budget, store_->GetBudget(project));
    *response->mutable_budget() = ckpt::ToProto(budget);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::SetBudget(grpc::ServerContext* context,
                                           const v1::SetBudgetRequest* request,
                                           v1::SetBudgetResponse* response) {
  return AnswerOnce<Store::BudgetResult>(
      "SetBudget", guard_, context, request, response, BudgetSet,
      [&](const Once<Store::BudgetResult>& once) -> absl::StatusOr<Store::BudgetResult> {
        ASSIGN_OR_RETURN(const std::string project, ParseProject(request->project()));
        ASSIGN_OR_RETURN(const std::optional<uint64_t> bytes, ParseBudget(*request));
        return store_->SetBudget(project, bytes, request->dry_run(), once);
      });
}

}  // namespace ckptd
