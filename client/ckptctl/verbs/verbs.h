// Every verb adds itself to the command line. One file a verb.
#pragma once

#include "client/ckptctl/session.h"

namespace ckpt::ctl {

void AddAlias(CLI::App& app, Session& session);
void AddBackup(CLI::App& app, Session& session);
void AddBudget(CLI::App& app, Session& session);
void AddCompletion(CLI::App& app, Session& session);
void AddDelete(CLI::App& app, Session& session);
void AddDescribe(CLI::App& app, Session& session);
void AddDiff(CLI::App& app, Session& session);
void AddFetch(CLI::App& app, Session& session);
void AddHealth(CLI::App& app, Session& session);
void AddHistory(CLI::App& app, Session& session);
void AddList(CLI::App& app, Session& session);
void AddPin(CLI::App& app, Session& session);
void AddPolicy(CLI::App& app, Session& session);
void AddPrune(CLI::App& app, Session& session);
void AddPush(CLI::App& app, Session& session);
void AddQuota(CLI::App& app, Session& session);
void AddRestore(CLI::App& app, Session& session);
void AddRewind(CLI::App& app, Session& session);
void AddRuns(CLI::App& app, Session& session);
void AddScrub(CLI::App& app, Session& session);
void AddStats(CLI::App& app, Session& session);
void AddToken(CLI::App& app, Session& session);
void AddUnpin(CLI::App& app, Session& session);
void AddVerify(CLI::App& app, Session& session);
void AddVersion(CLI::App& app, Session& session);
void AddWatch(CLI::App& app, Session& session);

}  // namespace ckpt::ctl
