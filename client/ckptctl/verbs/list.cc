#include <absl/time/clock.h>

#include "client/ckptctl/json.h"
#include "client/ckptctl/show.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string run;
  bool removed = false;
  bool pinned = false;
  std::string min_step, max_step, timeline, limit;
};

absl::StatusOr<CheckpointFilter> Filter(const Options& options) {
  CheckpointFilter filter;
  filter.include_removed = options.removed;
  filter.pinned_only = options.pinned;
  if (!options.min_step.empty()) {
    ASSIGN_OR_RETURN(filter.min_step, ParseCount("--min-step", options.min_step));
  }
  if (!options.max_step.empty()) {
    ASSIGN_OR_RETURN(filter.max_step, ParseCount("--max-step", options.max_step));
  }
  if (!options.timeline.empty()) {
    ASSIGN_OR_RETURN(const uint64_t timeline, ParseCount("--timeline", options.timeline));
    filter.timeline = static_cast<uint32_t>(std::min<uint64_t>(timeline, UINT32_MAX));
  }
  if (!options.limit.empty()) {
    ASSIGN_OR_RETURN(filter.limit, ParseCount("--limit", options.limit));
  }
  return filter;
}

absl::Status List(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(const RunName name, session.ParseRun(options.run));
  ASSIGN_OR_RETURN(const CheckpointFilter filter, Filter(options));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const RunDetails details, daemon->GetRun(name));
  ASSIGN_OR_RETURN(const std::vector<Checkpoint> checkpoints,
                   daemon->ListCheckpoints(name, filter));
  if (session.json()) {
    Json all = Json::array();
    for (const Checkpoint& checkpoint : checkpoints) all.push_back(ToJson(checkpoint));
    session.PrintJson(
        Json{{"project", name.project}, {"run", name.run}, {"checkpoints", std::move(all)}});
    return absl::OkStatus();
  }
  if (checkpoints.empty()) {
    session.Print(details.run.checkpoints == 0 ? "No checkpoints yet.\n"
                                               : "No checkpoint matches.\n");
    return absl::OkStatus();
  }
  session.Print(CheckpointTable(checkpoints, details.run.policy, absl::Now()));
  return absl::OkStatus();
}

}  // namespace

void AddList(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = session.AddVerb(app, "list", "Shows a run's checkpoints, and why each is kept",
                                   [options](Session& s) { return List(s, *options); });
  verb->add_option("RUN", options->run, "RUN or PROJECT/RUN")->required();
  verb->add_flag("-a,--removed", options->removed, "Removed ones too, and what let them go");
  verb->add_flag("--pinned", options->pinned, "Only pinned ones");
  verb->add_option("--min-step", options->min_step, "From this step on")->type_name("N");
  verb->add_option("--max-step", options->max_step, "Up to this step")->type_name("N");
  verb->add_option("--timeline", options->timeline, "Only of this timeline")->type_name("N");
  verb->add_option("-n,--limit", options->limit, "At most so many, the newest")->type_name("N");
}

}  // namespace ckpt::ctl
