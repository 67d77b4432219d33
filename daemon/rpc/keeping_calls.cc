#include <fmt/format.h>

#include "daemon/rpc/answer.h"
#include "daemon/rpc/service.h"
#include "proto/convert.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckptd {
namespace {

namespace v1 = ckpt::v1;

void ToProto(const Store::PruneResult& result, v1::PruneResult* message) {
  *message->mutable_run() = ckpt::ToProto(result.run);
  *message->mutable_policy() = ckpt::ToProto(result.policy);
  for (const ckpt::Checkpoint& c : result.checkpoints) {
    *message->add_checkpoints() = ckpt::ToProto(c);
  }
  message->set_freed_bytes(result.freed_bytes);
}

}  // namespace

grpc::Status CheckpointsService::GetPolicy(grpc::ServerContext*,
                                           const v1::GetPolicyRequest* request,
                                           v1::GetPolicyResponse* response) {
  return Answer("GetPolicy", [&]() -> absl::Status {
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

grpc::Status CheckpointsService::SetPolicy(grpc::ServerContext*,
                                           const v1::SetPolicyRequest* request,
                                           v1::SetPolicyResponse* response) {
  return Answer("SetPolicy", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
    std::optional<ckpt::Policy> policy;
    if (request->has_policy()) {
      ASSIGN_OR_RETURN(policy, ckpt::FromProto(request->policy()));
    }
    ASSIGN_OR_RETURN(Store::PruneResult result,
                     store_->SetPolicy(run, policy, request->dry_run(), request->if_version()));
    *response->mutable_policy() = ckpt::ToProto(result.policy);
    ToProto(result, response->mutable_result());
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::Prune(grpc::ServerContext*, const v1::PruneRequest* request,
                                       v1::PruneResponse* response) {
  return Answer("Prune", [&]() -> absl::Status {
    if (request->has_run()) {
      ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
      ASSIGN_OR_RETURN(Store::PruneResult result, store_->Prune(run, request->dry_run()));
      ToProto(result, response->add_results());
      return absl::OkStatus();
    }
    std::string project = request->project().empty() ? ckpt::kDefaultProject : request->project();
    RETURN_IF_ERROR(ckpt::CheckName("project name", project));
    ASSIGN_OR_RETURN(auto results, store_->PruneProject(project, request->dry_run()));
    for (const auto& result : results) ToProto(result, response->add_results());
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::DeleteCheckpoints(grpc::ServerContext*,
                                                   const v1::DeleteCheckpointsRequest* request,
                                                   v1::DeleteCheckpointsResponse* response) {
  return Answer("DeleteCheckpoints", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
    if (request->checkpoint_ids().empty()) {
      return ckpt::BadField("checkpoint_ids", "no checkpoint is named; name those to delete");
    }
    std::vector<uint64_t> ids(request->checkpoint_ids().begin(), request->checkpoint_ids().end());
    ASSIGN_OR_RETURN(Store::PruneResult result,
                     store_->DeleteCheckpoints(run, ids, request->dry_run()));
    for (const auto& c : result.checkpoints) *response->add_checkpoints() = ckpt::ToProto(c);
    response->set_freed_bytes(result.freed_bytes);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::DeleteRun(grpc::ServerContext*,
                                           const v1::DeleteRunRequest* request,
                                           v1::DeleteRunResponse* response) {
  return Answer("DeleteRun", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
    ASSIGN_OR_RETURN(Store::PruneResult result, store_->DeleteRun(run, request->dry_run()));
    response->set_checkpoints(result.checkpoints.size());
    response->set_freed_bytes(result.freed_bytes);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::RestoreCheckpoint(grpc::ServerContext*,
                                                   const v1::RestoreCheckpointRequest* request,
                                                   v1::RestoreCheckpointResponse* response) {
  return Answer("RestoreCheckpoint", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
    ASSIGN_OR_RETURN(ckpt::Checkpoint checkpoint,
                     store_->RestoreCheckpoint(run, request->checkpoint_id()));
    *response->mutable_checkpoint() = ckpt::ToProto(checkpoint);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::Pin(grpc::ServerContext*, const v1::PinRequest* request,
                                     v1::PinResponse* response) {
  return Answer("Pin", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
    RETURN_IF_ERROR(ckpt::CheckLabelName("pin", request->name()));
    ASSIGN_OR_RETURN(ckpt::Checkpoint checkpoint,
                     store_->Pin(run, request->checkpoint_id(), request->name()));
    *response->mutable_checkpoint() = ckpt::ToProto(checkpoint);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::Unpin(grpc::ServerContext*, const v1::UnpinRequest* request,
                                       v1::UnpinResponse* response) {
  return Answer("Unpin", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
    RETURN_IF_ERROR(ckpt::CheckLabelName("pin", request->name()));
    ASSIGN_OR_RETURN(ckpt::Checkpoint checkpoint,
                     store_->Unpin(run, request->checkpoint_id(), request->name()));
    *response->mutable_checkpoint() = ckpt::ToProto(checkpoint);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::SetAlias(grpc::ServerContext*, const v1::SetAliasRequest* request,
                                          v1::SetAliasResponse* response) {
  return Answer("SetAlias", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
    RETURN_IF_ERROR(ckpt::CheckAlias(request->alias()));
    ASSIGN_OR_RETURN(ckpt::Checkpoint checkpoint,
                     store_->SetAlias(run, request->checkpoint_id(), request->alias()));
    *response->mutable_checkpoint() = ckpt::ToProto(checkpoint);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::DeleteAlias(grpc::ServerContext*,
                                             const v1::DeleteAliasRequest* request,
                                             v1::DeleteAliasResponse*) {
  return Answer("DeleteAlias", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
    RETURN_IF_ERROR(ckpt::CheckAlias(request->alias()));
    return store_->DeleteAlias(run, request->alias());
  });
}

}  // namespace ckptd
