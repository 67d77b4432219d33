#include <absl/time/clock.h>

#include "client/ckptctl/json.h"
#include "client/ckptctl/show.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"
#include "proto/limits.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string run;
  bool all = false;
  std::string project;  // for --all; empty: the default one
  bool dry_run = false;
};

absl::StatusOr<std::vector<PruneResult>> Prune(Client& daemon, const std::optional<RunName>& run,
                                               const std::string& project, bool dry_run) {
  if (!run) return daemon.PruneProject(project, dry_run);
  ASSIGN_OR_RETURN(PruneResult result, daemon.Prune(*run, dry_run));
  return std::vector<PruneResult>{std::move(result)};
}

void Show(Session& session, const std::vector<PruneResult>& results, bool dry_run) {
  if (session.json()) {
    Json all = Json::array();
    for (const PruneResult& result : results) all.push_back(ToJson(result, dry_run));
    session.PrintJson(Json{{"results", std::move(all)}});
    return;
  }
  const absl::Time now = absl::Now();
  for (const PruneResult& result : results) session.Print(PruneText(result, dry_run, now));
  if (results.empty()) session.Print("There are no runs.\n");
}

absl::Status Run(Session& session, const Options& options) {
  // All runs are named with a flag: a forgotten argument must not mean all.
  if (options.run.empty() != options.all) {
    return BadField("RUN", options.all ? "give a run or --all, not both"
                                       : "name the run to prune, or say --all for every run of the "
                                         "project");
  }
  if (!options.all && !options.project.empty()) {
    return BadField("--project", "it goes with --all; of a run it is named in front: PROJECT/RUN");
  }
  const std::string project = options.project.empty() ? kDefaultProject : options.project;
  std::optional<RunName> run;
  if (!options.all) {
    ASSIGN_OR_RETURN(run, session.ParseRun(options.run));
  } else {
    RETURN_IF_ERROR(CheckName("project name", project));
  }
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const auto plan, Prune(*daemon, run, project, true));
  size_t going = 0;
  for (const PruneResult& result : plan) going += Removed(result);
  if (options.dry_run) {
    Show(session, plan, true);
    return absl::OkStatus();
  }
  if (going > 0 && !session.assume_yes()) {
    if (!session.json()) Show(session, plan, true);
    RETURN_IF_ERROR(session.Confirm(fmt::format("Remove {}?", Count(going, "checkpoint")),
                                    "nothing was removed"));
  }
  ASSIGN_OR_RETURN(const auto results, Prune(*daemon, run, project, false));
  Show(session, results, false);
  return absl::OkStatus();
}

}  // namespace

void AddPrune(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = session.AddVerb(app, "prune", "Removes what no rule of a run's policy keeps",
                                   [options](Session& s) { return Run(s, *options); });
  verb->add_option("RUN", options->run, "RUN or PROJECT/RUN");
  verb->add_flag("--all", options->all, "Every run of the project");
  verb->add_option("--project", options->project, "The project for --all, instead of default");
  verb->add_flag("--dry-run", options->dry_run, "Only show what would go, and why");
  session.AddYesFlag(verb);
}

}  // namespace ckpt::ctl
