#include <absl/time/clock.h>

#include "client/ckptctl/json.h"
#include "client/ckptctl/table.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string project;
  std::string prefix;
};

absl::Status List(Session& session, const Options& options) {
  if (!options.project.empty()) RETURN_IF_ERROR(CheckName("project name", options.project));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const std::vector<Run> runs, daemon->ListRuns(options.project, options.prefix));
  if (session.json()) {
    Json all = Json::array();
    for (const Run& run : runs) all.push_back(ToJson(run));
    session.PrintJson(Json{{"runs", all}});
    return absl::OkStatus();
  }
  if (runs.empty()) {
    session.Print("No runs yet.\n");
    return absl::OkStatus();
  }
  using Align = Table::Align;
  Table table({{"RUN"},
               {"LATEST", Align::kRight},
               {"AGE", Align::kRight},
               {"CHECKPOINTS", Align::kRight},
               {"REMOVED", Align::kRight},
               {"SIZE", Align::kRight},
               {"ATTEMPT", Align::kRight},
               {"POLICY"}});
  const absl::Time now = absl::Now();
  for (const Run& run : runs) {
    table.Add({run.name.ToString(), run.latest ? fmt::format("{}", run.latest->step) : "-",
               run.latest ? FormatAge(now - run.latest->committed_at) : "-",
               fmt::format("{}", run.checkpoints), fmt::format("{}", run.removed),
               FormatBytes(run.bytes), fmt::format("{}", run.newest_attempt),
               ToString(run.policy) + (run.policy_is_default ? " (default)" : "")});
  }
  session.Print(table.ToString());
  return absl::OkStatus();
}

}  // namespace

void AddRuns(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = session.AddVerb(app, "runs", "Shows the runs",
                                   [options](Session& s) { return List(s, *options); });
  verb->add_option("PREFIX", options->prefix, "Only runs whose name begins so");
  verb->add_option("--project", options->project, "Of this project (default: default)");
}

}  // namespace ckpt::ctl
