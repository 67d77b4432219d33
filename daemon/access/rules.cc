#include "daemon/access/rules.h"

#include <algorithm>

namespace ckptd {
namespace {

constexpr ckpt::Role kRead = ckpt::Role::kRead;
constexpr ckpt::Role kWrite = ckpt::Role::kWrite;
constexpr ckpt::Role kAdmin = ckpt::Role::kAdmin;

constexpr Rule kRules[] = {
    // Looking and fetching.
    {"Resolve", kRead, Names::kRun},
    {"GetManifest", kRead, Names::kCheckpoint},
    {"FetchChunks", kRead, Names::kCheckpoint},
    {"ListRuns", kRead, Names::kProjectOrOwn},
    {"GetRun", kRead, Names::kRun},
    {"ListCheckpoints", kRead, Names::kRun},
    {"GetCheckpoint", kRead, Names::kCheckpoint},
    {"ListEvents", kRead, Names::kCheckpointOrRun},
    {"GetStats", kRead, Names::kRunOrDaemon},
    {"Verify", kRead, Names::kRunOrDaemon},
    {"GetScrub", kRead, Names::kNothing, /*for_all=*/true},
    {"GetPolicy", kRead, Names::kRunOrNothing},
    {"GetBudget", kRead, Names::kProject},
    {"GetQuota", kRead, Names::kProject},

    // What a job does by itself. It cannot remove, but for what its run's policy
    // lets go.
    {"OpenAttempt", kWrite, Names::kRun},
    {"OpenUpload", kWrite, Names::kRun},
    {"PushChunks", kWrite, Names::kUpload},
    {"CommitShard", kWrite, Names::kUpload},
    {"AbortUpload", kWrite, Names::kUpload},
    {"AttachMetrics", kWrite, Names::kRun},
    {"Resume", kWrite, Names::kRunAndSource},
    {"ReportLoad", kWrite, Names::kTicket},
    {.method = "Rewind", .role = kWrite, .names = Names::kRun, .audited = true},
    {.method = "RestoreCheckpoint", .role = kWrite, .names = Names::kRun, .audited = true},
    {"Pin", kWrite, Names::kRun},
    {"SetAlias", kWrite, Names::kRun},
    {.method = "DeleteAlias", .role = kWrite, .names = Names::kRun, .audited = true},

    // What removes, and what decides what is removed. A pin holds against those
    // who can only write.
    {.method = "Unpin", .role = kAdmin, .names = Names::kRun, .audited = true},
    {.method = "SetPolicy", .role = kAdmin, .names = Names::kRun, .audited = true},
    {.method = "Prune", .role = kAdmin, .names = Names::kRunOrProject, .audited = true},
    {.method = "SetBudget", .role = kAdmin, .names = Names::kProject, .audited = true},
    {.method = "DeleteCheckpoints", .role = kAdmin, .names = Names::kRun, .audited = true},
    {.method = "DeleteRun", .role = kAdmin, .names = Names::kRun, .audited = true},
    {.method = "CreateToken", .role = kAdmin, .names = Names::kProjectOrDaemon, .audited = true},
    {"ListTokens", kAdmin, Names::kProjectOrOwn},
    {.method = "RevokeToken", .role = kAdmin, .names = Names::kToken, .audited = true},
    {.method = "StartScrub",
     .role = kAdmin,
     .names = Names::kNothing,
     .for_all = true,
     .audited = true},
    // All that there is of all projects, and the hashes of their tokens.
    {.method = "BackUpCatalog",
     .role = kAdmin,
     .names = Names::kNothing,
     .for_all = true,
     .audited = true},
    // A quota is what the daemon's owner grants a project.
    {.method = "SetQuota",
     .role = kAdmin,
     .names = Names::kProject,
     .for_all = true,
     .audited = true},
};

}  // namespace

std::span<const Rule> Rules() { return kRules; }

const Rule* FindRule(std::string_view method) {
  const Rule* found = std::find_if(std::begin(kRules), std::end(kRules),
                                   [&](const Rule& rule) { return rule.method == method; });
  return found == std::end(kRules) ? nullptr : found;
}

}  // namespace ckptd
