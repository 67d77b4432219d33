#include "client/health.h"
#include "client/ckptctl/exit_codes.h"
#include "client/ckptctl/json.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

absl::Status Show(Session& session) {
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const Health health, CheckHealth(*daemon));
  if (!health.ready) session.SetExitCode(kExitFailed);
  if (session.json()) {
    session.PrintJson(Json{{"ready", health.ready},
                           {"live", health.live},
                           {"draining", health.draining},
                           {"problems", health.problems}});
    return absl::OkStatus();
  }
  std::string text = health.ready  ? "ready\n"
                     : health.live ? "not ready\n"
                                   : "not ready, and stuck: start it anew\n";
  for (const std::string& problem : health.problems) {
    text += fmt::format("  {}\n", Printable(problem, problem.size() + 1));
  }
  session.Print(text);
  return absl::OkStatus();
}

}  // namespace

void AddHealth(CLI::App& app, Session& session) {
  session.AddVerb(app, "health",
                  "Says whether the daemon takes checkpoints (exit code 0), or why not (1)", Show);
}

}  // namespace ckpt::ctl
