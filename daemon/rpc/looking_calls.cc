#include <fmt/format.h>

#include "daemon/rpc/answer.h"
#include "daemon/rpc/service.h"
#include "daemon/store/reader.h"
#include "proto/convert.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckptd {

namespace v1 = ckpt::v1;

grpc::Status CheckpointsService::Resolve(grpc::ServerContext* context,
                                         const v1::ResolveRequest* request,
                                         v1::ResolveResponse* response) {
  return Answer("Resolve", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
    ASSIGN_OR_RETURN(ckpt::Selector selector, ckpt::FromProto(request->selector()));
    ASSIGN_OR_RETURN(Store::Resolved resolved,
                     store_->Resolve(run, selector, request->include_removed()));
    *response->mutable_checkpoint() = ckpt::ToProto(resolved.checkpoint);
    response->set_explanation(resolved.explanation);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::GetManifest(grpc::ServerContext* context,
                                             const v1::GetManifestRequest* request,
                                             v1::GetManifestResponse* response) {
  return Answer("GetManifest", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(auto reader, store_->OpenReader(request->checkpoint_id(), request->rank()));
    *response->mutable_manifest() = ckpt::ToProto(reader->manifest());
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::ListRuns(grpc::ServerContext* context,
                                          const v1::ListRunsRequest* request,
                                          v1::ListRunsResponse* response) {
  return Answer("ListRuns", guard_, context, request, [&](const Caller& caller) -> absl::Status {
    if (!request->project().empty()) {
      RETURN_IF_ERROR(ckpt::CheckName("project name", request->project()));
    }
    if (!request->name_prefix().empty()) {
      RETURN_IF_ERROR(ckpt::CheckName("name prefix", request->name_prefix()));
    }
    std::optional<ckpt::RunName> after;
    if (!request->page_token().empty()) {
      auto name = ckpt::ParseRunName(request->page_token());
      if (!name.ok()) return BadPageToken(request->page_token());
      after = *std::move(name);
    }
    uint32_t limit = PageSize(request->page_size());
    // Of all projects means of all those that the caller's token is for.
    const std::string project =
        request->project().empty() ? caller.project.value_or("") : request->project();
    ASSIGN_OR_RETURN(auto runs, store_->ListRuns(project, request->name_prefix(), after, limit));
    for (const ckpt::Run& run : runs) *response->add_runs() = ckpt::ToProto(run);
    if (runs.size() == limit) {
      const ckpt::RunName& last = runs.back().name;
      response->set_next_page_token(last.project + "/" + last.run);
    }
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::GetRun(grpc::ServerContext* context,
                                        const v1::GetRunRequest* request,
                                        v1::GetRunResponse* response) {
  return Answer("GetRun", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
    ASSIGN_OR_RETURN(Store::RunDetails details, store_->GetRun(run));
    *response->mutable_run() = ckpt::ToProto(details.run);
    for (const auto& timeline : details.timelines) {
      *response->add_timelines() = ckpt::ToProto(timeline);
    }
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::ListCheckpoints(grpc::ServerContext* context,
                                                 const v1::ListCheckpointsRequest* request,
                                                 v1::ListCheckpointsResponse* response) {
  return Answer("ListCheckpoints", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::RunName run, ckpt::FromProto(request->run()));
    Store::ListRequest list;
    list.include_removed = request->include_removed();
    if (request->has_min_step()) list.min_step = request->min_step();
    if (request->has_max_step()) list.max_step = request->max_step();
    list.timeline = request->timeline();
    list.pinned_only = request->pinned_only();
    ASSIGN_OR_RETURN(list.before_id, ParsePageToken(request->page_token()));
    list.limit = PageSize(request->page_size());
    ASSIGN_OR_RETURN(auto checkpoints, store_->ListCheckpoints(run, list));
    for (const auto& checkpoint : checkpoints) {
      *response->add_checkpoints() = ckpt::ToProto(checkpoint);
    }
    if (checkpoints.size() == list.limit) {
      response->set_next_page_token(fmt::format("{}", checkpoints.back().id));
    }
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::GetCheckpoint(grpc::ServerContext* context,
                                               const v1::GetCheckpointRequest* request,
                                               v1::GetCheckpointResponse* response) {
  return Answer("GetCheckpoint", guard_, context, request, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(ckpt::Checkpoint checkpoint, store_->GetCheckpoint(request->checkpoint_id()));
    *response->mutable_checkpoint() = ckpt::ToProto(checkpoint);
    ASSIGN_OR_RETURN(auto events, store_->ListEvents(std::nullopt, checkpoint.id, 0,
                                                     ckpt::kMaxPageSize));
    for (const ckpt::Event& event : events) *response->add_events() = ckpt::ToProto(event);
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::ListEvents(grpc::ServerContext* context,
                                            const v1::ListEventsRequest* request,
                                            v1::ListEventsResponse* response) {
  return Answer("ListEvents", guard_, context, request, [&]() -> absl::Status {
    std::optional<ckpt::RunName> run;
    if (request->checkpoint_id() == 0) {
      ASSIGN_OR_RETURN(run, ckpt::FromProto(request->run()));
    }
    ASSIGN_OR_RETURN(uint64_t before, ParsePageToken(request->page_token()));
    uint32_t limit = PageSize(request->page_size());
    ASSIGN_OR_RETURN(auto events, store_->ListEvents(run, request->checkpoint_id(), before, limit));
    for (const ckpt::Event& event : events) *response->add_events() = ckpt::ToProto(event);
    if (events.size() == limit) {
      response->set_next_page_token(fmt::format("{}", events.back().id));
    }
    return absl::OkStatus();
  });
}

grpc::Status CheckpointsService::GetStats(grpc::ServerContext* context,
                                          const v1::GetStatsRequest* request,
                                          v1::GetStatsResponse* response) {
  return Answer("GetStats", guard_, context, request, [&]() -> absl::Status {
    std::optional<ckpt::RunName> name;
    if (request->has_run() && request->run().run().empty()) {
      name = ckpt::RunName{request->run().project().empty() ? ckpt::kDefaultProject
                                                            : request->run().project(), ""};
      RETURN_IF_ERROR(ckpt::CheckName("project name", name->project));
    } else if (request->has_run()) {
      ASSIGN_OR_RETURN(name, ckpt::FromProto(request->run()));
    }
    ASSIGN_OR_RETURN(ckpt::Stats stats, store_->GetStats(name));
    *response = ckpt::ToProto(stats);
    return absl::OkStatus();
  });
}

}  // namespace ckptd
