#include <absl/time/clock.h>

#include "client/ckptctl/json.h"
#include "client/ckptctl/show.h"
#include "client/ckptctl/table.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string run;
  std::string project;
};

absl::Status Show(Session& session, const Options& options) {
  std::optional<RunName> scope;
  if (!options.run.empty() && !options.project.empty()) {
    return BadField("--project", "give a run or --project, not both; a run is PROJECT/RUN");
  }
  if (!options.run.empty()) {
    ASSIGN_OR_RETURN(scope, session.ParseRun(options.run));
  } else if (!options.project.empty()) {
    RETURN_IF_ERROR(CheckName("project name", options.project));
    scope = RunName{options.project, ""};
  }
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const Stats stats, daemon->GetStats(scope));
  if (session.json()) {
    session.PrintJson(ToJson(stats));
    return absl::OkStatus();
  }
  Fields fields;
  if (!scope || scope->run.empty()) fields.Add("Runs", fmt::format("{}", stats.runs));
  fields.Add("Checkpoints", fmt::format("{}", stats.checkpoints));
  fields.Add("Size of the checkpoints", FormatBytes(stats.logical_bytes));
  std::string stored = FormatBytes(stats.stored_bytes);
  if (stats.stored_bytes > 0 && stats.logical_bytes > stats.stored_bytes) {
    stored += fmt::format(
        " ({:.1f} times smaller: equal chunks are stored once, history encoded)",
        static_cast<double>(stats.logical_bytes) / static_cast<double>(stats.stored_bytes));
  }
  fields.Add("Stored", stored);
  fields.Add("Chunks", fmt::format("{}", stats.chunks));
  if (stats.damaged_checkpoints > 0) {
    fields.Add("Damaged checkpoints", fmt::format("{}", stats.damaged_checkpoints));
  }
  if (!scope) {
    fields.Add("On disk", FormatBytes(stats.disk_bytes));
    fields.Add("Free on the disk", FormatBytes(stats.disk_free_bytes));
    fields.Add("Waiting to be given back", FormatBytes(stats.reclaimable_bytes));
    fields.Add("Open uploads", fmt::format("{}", stats.open_uploads));
    if (stats.scrub) fields.Add("Scrub", ScrubLine(*stats.scrub, absl::Now()));
    fields.Add("Version", stats.version);
    fields.Add("Up for", FormatAge(stats.uptime));
  }
  session.Print(fields.ToString());
  return absl::OkStatus();
}

}  // namespace

void AddStats(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb =
      session.AddVerb(app, "stats", "Shows the space used by the daemon, a project or a run",
                      [options](Session& s) { return Show(s, *options); });
  verb->add_option("RUN", options->run, "RUN or PROJECT/RUN");
  verb->add_option("--project", options->project, "Of this project");
}

}  // namespace ckpt::ctl
