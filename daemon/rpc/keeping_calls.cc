#include <fmt/format.h>

#include "daemon/rpc/answer.h"
#include "daemon/rpc/service.h"
#include "proto/convert.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckptd {
namespace {

namespace v1 = ckpt::v1;

using PruneResult = Store::PruneResult;

void ToProto(const PruneResult& result, v1::PruneResult* message) {
  *message->mutable_run() = ckpt::ToProto(result.run);
  *message->mutable_policy() = ckpt::ToProto(result.policy);
  for (const ckpt::Checkpoint& c : result.checkpoints) {
    *message->add_checkpoints() = ckpt::ToProto(c);
  }
  message->set_freed_bytes(result.freed_bytes);
}

v1::SetPolicyResponse PolicySet(const PruneResult& result) {
  v1::SetPolicyResponse response;
  *response.mutable_policy() = ckpt::ToProto(result.policy);
  ToProto(result, response.mutable_result());
  return response;
}

v1::PruneResponse Pruned(const std::vector<PruneResult>& results) {
  v1::PruneResponse response;
  for (const PruneResult& result : results) ToProto(result, response.add_results());
  return response;
}

v1::DeleteCheckpointsResponse CheckpointsDeleted(const PruneResult& result) {
  v1::DeleteCheckpointsResponse response;
  for (const auto& c : result.checkpoints) *response.add_checkpoints() = ckpt::ToProto(c);
  response.set_freed_bytes(result.freed_bytes);
  return response;
}

v1::DeleteRunResponse RunDeleted(const PruneResult& result) {
  v1::DeleteRunResponse response;
  response.set_checkpoints(result.checkpoints.size());
  response.set_freed_bytes(result.freed_bytes);
  return response;
}

}  // namespace

grpc::Status CheckpointsService::GetPolicy(grpc::ServerContext* context,
                                           const v1::GetPolicyRequest* request,
                                           v1::GetPolicyResponse* response) {
  return Answer("GetPolicy", guard_, context, request, [&]() -> absl::Status {
    std::optional<ckpt::RunName> run;
    if (request->has_run()) {
      ASSIGN_OR_RETURN(run, ckpt::FromProto(request->run()));
    }
    ASSIGN_OR_RETURN(Store::PolicyInForce in_force, store_->GetPolicy(run));
    *response->mutable_policy() = ckpt::ToProto(in_force.policy);
    response->set_is_default(in_force.is_default);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::SetPolicy(grpc::ServerContext* context,
                                           const v1::SetPolicyRequest* request,
                                           v1::SetPolicyResponse* response) {
  return AnswerOnce<PruneResult>(
      "SetPolicy", guard_, context, request, response, PolicySet,
      [&](const Once<PruneResult>& once) -> absl::StatusOr<PruneResult> {
        ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
        std::optional<ckpt::Policy> policy;
        if (request->has_policy()) {
          ASSIGN_OR_RETURN(policy, ckpt::FromProto(request->policy()));
        }
        return store_->SetPolicy(run, policy, request->dry_run(), request->if_version(), once);
      });
}

grpc::Status CheckpointsService::Prune(grpc::ServerContext* context,
                                       const v1::PruneRequest* request,
                                       v1::PruneResponse* response) {
  if (request->has_run()) {
    return AnswerOnce<PruneResult>(
        "Prune", guard_, context, request, response,
        [](const PruneResult& result) { return Pruned({result}); },
        [&](const Once<PruneResult>& once) -> absl::StatusOr<PruneResult> {
          ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
          return store_->Prune(run, request->dry_run(), once);
        });
  }
  using Results = std::vector<PruneResult>;
  return AnswerOnce<Results>("Prune", guard_, context, request, response, Pruned,
                             [&](const Once<Results>& once) -> absl::StatusOr<Results> {
                               const std::string project = request->project().empty()
                                                               ? ckpt::kDefaultProject
                                                               : request->project();
                               RETURN_IF_ERROR(ckpt::CheckName("project name", project));
                               return store_->PruneProject(project, request->dry_run(), once);
                             });
}

grpc::Status CheckpointsService::DeleteCheckpoints(grpc::ServerContext* context,
                                                   const v1::DeleteCheckpointsRequest* request,
                                                   v1::DeleteCheckpointsResponse* response) {
  return AnswerOnce<PruneResult>(
      "DeleteCheckpoints", guard_, context, request, response, CheckpointsDeleted,
      [&](const Once<PruneResult>& once) -> absl::StatusOr<PruneResult> {
        ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
        if (request->checkpoint_ids().empty()) {
          return ckpt::BadField("checkpoint_ids", "no checkpoint is named; name those to delete");
        }
        const auto& ids = request->checkpoint_ids();
        return store_->DeleteCheckpoints(run, {ids.begin(), ids.end()}, request->dry_run(), once);
      });
}

grpc::Status CheckpointsService::DeleteRun(grpc::ServerContext* context,
                                           const v1::DeleteRunRequest* request,
                                           v1::DeleteRunResponse* response) {
  return AnswerOnce<PruneResult>("DeleteRun", guard_, context, request, response, RunDeleted,
                                 [&](const Once<PruneResult>& once) -> absl::StatusOr<PruneResult> {
                                   ASSIGN_OR_RETURN(ckpt::RunName run,
                                                    ckpt::FromProto(request->run()));
                                   return store_->DeleteRun(run, request->dry_run(), once);
                                 });
}

grpc::Status CheckpointsService::RestoreCheckpoint(grpc::ServerContext* context,
                                                   const v1::RestoreCheckpointRequest* request,
                                                   v1::RestoreCheckpointResponse* response) {
  return AnswerOnce<ckpt::Checkpoint>(
      "RestoreCheckpoint", guard_, context, request, response,
      WithCheckpoint<v1::RestoreCheckpointResponse>,
      [&](const Once<ckpt::Checkpoint>& once) -> absl::StatusOr<ckpt::Checkpoint> {
        ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
        return store_->RestoreCheckpoint(run, request->checkpoint_id(), once);
      });
}

grpc::Status CheckpointsService::Pin(grpc::ServerContext* context, const v1::PinRequest* request,
                                     v1::PinResponse* response) {
  return AnswerOnce<ckpt::Checkpoint>(
      "Pin", guard_, context, request, response, WithCheckpoint<v1::PinResponse>,
      [&](const Once<ckpt::Checkpoint>& once) -> absl::StatusOr<ckpt::Checkpoint> {
        ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
        RETURN_IF_ERROR(ckpt::CheckLabelName("pin", request->name()));
        return store_->Pin(run, request->checkpoint_id(), request->name(), once);
      });
}

grpc::Status CheckpointsService::Unpin(grpc::ServerContext* context,
                                       const v1::UnpinRequest* request,
                                       v1::UnpinResponse* response) {
  return AnswerOnce<ckpt::Checkpoint>(
      "Unpin", guard_, context, request, response, WithCheckpoint<v1::UnpinResponse>,
      [&](const Once<ckpt::Checkpoint>& once) -> absl::StatusOr<ckpt::Checkpoint> {
        ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
        RETURN_IF_ERROR(ckpt::CheckLabelName("pin", request->name()));
        return store_->Unpin(run, request->checkpoint_id(), request->name(), once);
      });
}

grpc::Status CheckpointsService::SetAlias(grpc::ServerContext* context,
                                          const v1::SetAliasRequest* request,
                                          v1::SetAliasResponse* response) {
  return AnswerOnce<ckpt::Checkpoint>(
      "SetAlias", guard_, context, request, response, WithCheckpoint<v1::SetAliasResponse>,
      [&](const Once<ckpt::Checkpoint>& once) -> absl::StatusOr<ckpt::Checkpoint> {
        ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
        RETURN_IF_ERROR(ckpt::CheckAlias(request->alias()));
        return store_->SetAlias(run, request->checkpoint_id(), request->alias(), once);
      });
}

grpc::Status CheckpointsService::DeleteAlias(grpc::ServerContext* context,
                                             const v1::DeleteAliasRequest* request,
                                             v1::DeleteAliasResponse* response) {
  return AnswerOnce<Done>("DeleteAlias", guard_, context, request, response,
                          Empty<v1::DeleteAliasResponse>,
                          [&](const Once<Done>& once) -> absl::StatusOr<Done> {
                            ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
                            RETURN_IF_ERROR(ckpt::CheckAlias(request->alias()));
                            RETURN_IF_ERROR(store_->DeleteAlias(run, request->alias(), once));
                            return Done{};
                          });
}

}  // namespace ckptd
