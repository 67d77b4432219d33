// The calls of Client that look at runs and decide what is kept.
#include "client/call.h"
#include "client/client.h"
#include "proto/convert.h"
#include "proto/limits.h"

namespace ckpt {
namespace {

using Stub = v1::Checkpoints::Stub;

template <typename Message>
std::vector<Checkpoint> Checkpoints(const Message& message) {
  std::vector<Checkpoint> checkpoints;
  checkpoints.reserve(message.checkpoints_size());
  for (const auto& checkpoint : message.checkpoints()) {
    checkpoints.push_back(FromProto(checkpoint));
  }
  return checkpoints;
}

absl::StatusOr<PruneResult> ToPruneResult(const v1::PruneResult& message) {
  ASSIGN_OR_RETURN(RunName run, FromProto(message.run()));
  ASSIGN_OR_RETURN(Policy policy, FromProto(message.policy()));
  return PruneResult{.run = std::move(run),
                     .policy = std::move(policy),
                     .checkpoints = Checkpoints(message),
                     .freed_bytes = message.freed_bytes()};
}

// Asks for page after page. `add(response)` takes a page in and says whether
// more is wanted.
template <typename Request, typename Call, typename Add>
absl::Status FollowPages(Request& request, Call call, Add add) {
  request.set_page_size(kMaxPageSize);
  while (true) {
    ASSIGN_OR_RETURN(const auto response, call(request));
    if (!add(response) || response.next_page_token().empty()) return absl::OkStatus();
    if (response.next_page_token() == request.page_token()) {
      return MakeError(absl::StatusCode::kInternal, reason::kInternal,
                       "ckptd gave the same page of a list twice");
    }
    request.set_page_token(response.next_page_token());
  }
}

}  // namespace

// ---- Looking -----------------------------------------------------------------

absl::StatusOr<std::vector<Run>> Client::ListRuns(const std::string& project,
                                                  const std::string& name_prefix) {
  v1::ListRunsRequest request;
  request.set_project(project);
  request.set_name_prefix(name_prefix);
  std::vector<Run> runs;
  RETURN_IF_ERROR(FollowPages(
      request, [this](const auto& page) { return Call(&Stub::ListRuns, page); },
      [&](const v1::ListRunsResponse& response) {
        for (const v1::Run& run : response.runs()) runs.push_back(FromProto(run));
        return true;
      }));
  return runs;
}

absl::StatusOr<RunDetails> Client::GetRun(const RunName& run) {
  v1::GetRunRequest request;
  *request.mutable_run() = ToProto(run);
  ASSIGN_OR_RETURN(const v1::GetRunResponse response, Call(&Stub::GetRun, request));
  RunDetails details{.run = FromProto(response.run())};
  for (const v1::Timeline& timeline : response.timelines()) {
    details.timelines.push_back(FromProto(timeline));
  }
  return details;
}

absl::StatusOr<std::vector<Checkpoint>> Client::ListCheckpoints(const RunName& run,
                                                                const CheckpointFilter& filter) {
  v1::ListCheckpointsRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_include_removed(filter.include_removed);
  if (filter.min_step.has_value()) request.set_min_step(*filter.min_step);
  if (filter.max_step.has_value()) request.set_max_step(*filter.max_step);
  request.set_timeline(filter.timeline);
  request.set_pinned_only(filter.pinned_only);
  std::vector<Checkpoint> checkpoints;
  const auto full = [&] { return filter.limit != 0 && checkpoints.size() >= filter.limit; };
  RETURN_IF_ERROR(FollowPages(
      request, [this](const auto& page) { return Call(&Stub::ListCheckpoints, page); },
      [&](const v1::ListCheckpointsResponse& response) {
        for (const v1::Checkpoint& checkpoint : response.checkpoints()) {
          if (!full()) checkpoints.push_back(FromProto(checkpoint));
        }
        return !full();
      }));
  return checkpoints;
}

absl::StatusOr<CheckpointDetails> Client::GetCheckpoint(uint64_t checkpoint_id) {
  v1::GetCheckpointRequest request;
  request.set_checkpoint_id(checkpoint_id);
  ASSIGN_OR_RETURN(const v1::GetCheckpointResponse response, Call(&Stub::GetCheckpoint, request));
  CheckpointDetails details{.checkpoint = FromProto(response.checkpoint())};
  for (const v1::Event& event : response.events()) details.events.push_back(FromProto(event));
  return details;
}

absl::StatusOr<std::vector<Event>> Client::ListEvents(const RunName& run, uint64_t checkpoint_id,
                                                      size_t limit) {
  v1::ListEventsRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_checkpoint_id(checkpoint_id);
  std::vector<Event> events;
  const auto full = [&] { return limit != 0 && events.size() >= limit; };
  RETURN_IF_ERROR(FollowPages(
      request, [this](const auto& page) { return Call(&Stub::ListEvents, page); },
      [&](const v1::ListEventsResponse& response) {
        for (const v1::Event& event : response.events()) {
          if (!full()) events.push_back(FromProto(event));
        }
        return !full();
      }));
  return events;
}

absl::StatusOr<Stats> Client::GetStats(const std::optional<RunName>& run) {
  v1::GetStatsRequest request;
  if (run.has_value()) *request.mutable_run() = ToProto(*run);
  ASSIGN_OR_RETURN(const v1::GetStatsResponse response, Call(&Stub::GetStats, request));
  return FromProto(response);
}

// ---- Keeping -----------------------------------------------------------------

absl::StatusOr<PolicyInForce> Client::GetPolicy(const std::optional<RunName>& run) {
  v1::GetPolicyRequest request;
  if (run.has_value()) *request.mutable_run() = ToProto(*run);
  ASSIGN_OR_RETURN(const v1::GetPolicyResponse response, Call(&Stub::GetPolicy, request));
  ASSIGN_OR_RETURN(Policy policy, FromProto(response.policy()));
  return PolicyInForce{.policy = std::move(policy), .is_default = response.is_default()};
}

absl::StatusOr<PolicyChange> Client::SetPolicy(const RunName& run,
                                               const std::optional<Policy>& policy, bool dry_run,
                                               uint64_t if_version) {
  v1::SetPolicyRequest request;
  *request.mutable_run() = ToProto(run);
  if (policy.has_value()) *request.mutable_policy() = ToProto(*policy);
  request.set_dry_run(dry_run);
  request.set_if_version(if_version);
  ASSIGN_OR_RETURN(const v1::SetPolicyResponse response,
                   Call(&Stub::SetPolicy, request, options_.long_call_deadline));
  ASSIGN_OR_RETURN(Policy now, FromProto(response.policy()));
  ASSIGN_OR_RETURN(PruneResult result, ToPruneResult(response.result()));
  return PolicyChange{.policy = std::move(now), .result = std::move(result)};
}

absl::StatusOr<PruneResult> Client::Prune(const RunName& run, bool dry_run) {
  v1::PruneRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_dry_run(dry_run);
  ASSIGN_OR_RETURN(const v1::PruneResponse response,
                   Call(&Stub::Prune, request, options_.long_call_deadline));
  if (response.results_size() != 1) {
    return MakeError(absl::StatusCode::kInternal, reason::kInternal,
                     fmt::format("ckptd answered the prune of one run with {} results",
                                 response.results_size()));
  }
  return ToPruneResult(response.results(0));
}

absl::StatusOr<std::vector<PruneResult>> Client::PruneProject(const std::string& project,
                                                              bool dry_run) {
  v1::PruneRequest request;
  request.set_project(project);
  request.set_dry_run(dry_run);
  ASSIGN_OR_RETURN(const v1::PruneResponse response,
                   Call(&Stub::Prune, request, options_.long_call_deadline));
  std::vector<PruneResult> results;
  for (const v1::PruneResult& message : response.results()) {
    ASSIGN_OR_RETURN(PruneResult result, ToPruneResult(message));
    results.push_back(std::move(result));
  }
  return results;
}

absl::StatusOr<Budget> Client::GetBudget(const std::string& project) {
  v1::GetBudgetRequest request;
  request.set_project(project);
  ASSIGN_OR_RETURN(const v1::GetBudgetResponse response, Call(&Stub::GetBudget, request));
  return FromProto(response.budget());
}

absl::StatusOr<BudgetChange> Client::SetBudget(const std::string& project,
                                               std::optional<uint64_t> bytes, bool dry_run) {
  v1::SetBudgetRequest request;
  request.set_project(project);
  if (!bytes) {
    request.set_use_default(true);
  } else if (*bytes == 0) {
    request.set_none(true);
  } else {
    request.set_bytes(*bytes);
  }
  request.set_dry_run(dry_run);
  ASSIGN_OR_RETURN(const v1::SetBudgetResponse response,
                   Call(&Stub::SetBudget, request, options_.long_call_deadline));
  return BudgetChange{.budget = FromProto(response.budget()),
                      .checkpoints = Checkpoints(response),
                      .freed_bytes = response.freed_bytes()};
}

absl::StatusOr<DeleteResult> Client::DeleteCheckpoints(const RunName& run,
                                                       const std::vector<uint64_t>& checkpoint_ids,
                                                       bool dry_run) {
  v1::DeleteCheckpointsRequest request;
  *request.mutable_run() = ToProto(run);
  request.mutable_checkpoint_ids()->Add(checkpoint_ids.begin(), checkpoint_ids.end());
  request.set_dry_run(dry_run);
  ASSIGN_OR_RETURN(const v1::DeleteCheckpointsResponse response,
                   Call(&Stub::DeleteCheckpoints, request, options_.long_call_deadline));
  return DeleteResult{.checkpoints = Checkpoints(response), .freed_bytes = response.freed_bytes()};
}

absl::StatusOr<DeleteRunResult> Client::DeleteRun(const RunName& run, bool dry_run) {
  v1::DeleteRunRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_dry_run(dry_run);
  ASSIGN_OR_RETURN(const v1::DeleteRunResponse response,
                   Call(&Stub::DeleteRun, request, options_.long_call_deadline));
  return DeleteRunResult{.checkpoints = response.checkpoints(),
                         .freed_bytes = response.freed_bytes()};
}

absl::StatusOr<Checkpoint> Client::Restore(const RunName& run, uint64_t checkpoint_id) {
  v1::RestoreCheckpointRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_checkpoint_id(checkpoint_id);
  ASSIGN_OR_RETURN(const v1::RestoreCheckpointResponse response,
                   Call(&Stub::RestoreCheckpoint, request));
  return FromProto(response.checkpoint());
}

absl::StatusOr<Checkpoint> Client::Pin(const RunName& run, uint64_t checkpoint_id,
                                       const std::string& name) {
  v1::PinRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_checkpoint_id(checkpoint_id);
  request.set_name(name);
  ASSIGN_OR_RETURN(const v1::PinResponse response, Call(&Stub::Pin, request));
  return FromProto(response.checkpoint());
}

absl::StatusOr<Checkpoint> Client::Unpin(const RunName& run, uint64_t checkpoint_id,
                                         const std::string& name) {
  v1::UnpinRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_checkpoint_id(checkpoint_id);
  request.set_name(name);
  ASSIGN_OR_RETURN(const v1::UnpinResponse response, Call(&Stub::Unpin, request));
  return FromProto(response.checkpoint());
}

absl::StatusOr<Checkpoint> Client::SetAlias(const RunName& run, const std::string& alias,
                                            uint64_t checkpoint_id) {
  v1::SetAliasRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_alias(alias);
  request.set_checkpoint_id(checkpoint_id);
  ASSIGN_OR_RETURN(const v1::SetAliasResponse response, Call(&Stub::SetAlias, request));
  return FromProto(response.checkpoint());
}

absl::Status Client::DeleteAlias(const RunName& run, const std::string& alias) {
  v1::DeleteAliasRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_alias(alias);
  return Call(&Stub::DeleteAlias, request).status();
}

absl::StatusOr<Run> Client::Rewind(const RunName& run, uint64_t checkpoint_id) {
  v1::RewindRequest request;
  *request.mutable_run() = ToProto(run);
  request.set_checkpoint_id(checkpoint_id);
  ASSIGN_OR_RETURN(const v1::RewindResponse response, Call(&Stub::Rewind, request));
  return FromProto(response.run());
}

}  // namespace ckpt
