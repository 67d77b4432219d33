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
    {"Rewind", kWrite, Names::kRun},
    {"RestoreCheckpoint", kWrite, Names::kRun},
    {"Pin", kWrite, Names::kRun},
    {"SetAlias", kWrite, Names::kRun},
    {"DeleteAlias", kWrite, Names::kRun},

    // What removes, and what decides what is removed. A pin holds against those
    // who can only write.
    {"Unpin", kAdmin, Names::kRun},
    {"SetPolicy", kAdmin, Names::kRun},
    {"Prune", kAdmin, Names::kRunOrProject},
    {"SetBudget", kAdmin, Names::kProject},
    {"DeleteCheckpoints", kAdmin, Names::kRun},
    {"DeleteRun", kAdmin, Names::kRun},
    {"CreateToken", kAdmin, Names::kProjectOrDaemon},
    {"ListTokens", kAdmin, Names::kProjectOrOwn},
    {"RevokeToken", kAdmin, Names::kToken},
    {"StartScrub", kAdmin, Names::kNothing, /*for_all=*/true},
    // A quota is what the daemon's owner grants a project.
    {"SetQuota", kAdmin, Names::kProject, /*for_all=*/true},
};

}  // namespace

std::span<const Rule> Rules() { return kRules; }

const Rule* FindRule(std::string_view method) {
  const Rule* found = std::find_if(std::begin(kRules), std::end(kRules),
                                   [&](const Rule& rule) { return rule.method == method; });
  return found == std::end(kRules) ? nullptr : found;
}

}  // namespace ckptd
