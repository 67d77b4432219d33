#include <absl/time/clock.h>

#include "client/ckptctl/json.h"
#include "client/ckptctl/show.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::vector<std::string> checkpoints;
  std::string run;
  bool dry_run = false;
};

absl::Status DeleteRun(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(const RunName run, session.ParseRun(options.run));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(DeleteRunResult result, daemon->DeleteRun(run, true));
  const std::string what =
      fmt::format("run {} with its {}", run.ToString(), Count(result.checkpoints, "checkpoint"));
  if (!options.dry_run) {
    RETURN_IF_ERROR(session.Confirm(
        fmt::format("This removes {} and gives back {}. Type the run's name to go on:", what,
                    FormatBytes(result.freed_bytes)),
        "nothing was removed", run.ToString()));
    ASSIGN_OR_RETURN(result, daemon->DeleteRun(run, false));
  }
  if (session.json()) {
    session.PrintJson(Json{{"project", run.project},
                           {"run", run.run},
                           {"dry_run", options.dry_run},
                           {"checkpoints", result.checkpoints},
                           {"freed_bytes", result.freed_bytes}});
    return absl::OkStatus();
  }
  session.Print(fmt::format("{} {}; {} {} given back.\n",
                            options.dry_run ? "Would remove" : "Removed", what,
                            FormatBytes(result.freed_bytes), options.dry_run ? "would be" : "are"));
  return absl::OkStatus();
}

absl::Status DeleteCheckpoints(Session& session, const Options& options) {
  // Everything is named and found before anything goes.
  RunName run;
  std::vector<uint64_t> ids;
  for (const std::string& text : options.checkpoints) {
    ASSIGN_OR_RETURN(const CheckpointRef ref, ParseCheckpointRef(text));
    if (!ref.selector) {
      return BadField("RUN@SELECTOR",
                      fmt::format("'{0}' names a whole run, not a checkpoint; delete one with "
                                  "{0}@STEP, or the run and all it has with --run {0}",
                                  Printable(text)));
    }
    if (!run.run.empty() && run != ref.run) {
      return BadField("RUN@SELECTOR", "delete checkpoints of one run at a time");
    }
    run = ref.run;
  }
  for (const std::string& text : options.checkpoints) {
    ASSIGN_OR_RETURN(const Checkpoint checkpoint, session.ResolveExactly(text));
    if (std::find(ids.begin(), ids.end(), checkpoint.id) == ids.end()) {
      ids.push_back(checkpoint.id);
    }
  }
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(DeleteResult result, daemon->DeleteCheckpoints(run, ids, true));
  if (!options.dry_run) {
    if (!session.assume_yes() && !session.json()) {
      session.Print("Would be removed:\n" +
                    CheckpointTable(result.checkpoints, Policy::Default(), absl::Now()));
    }
    RETURN_IF_ERROR(session.Confirm(fmt::format("Remove {}?", Count(ids.size(), "checkpoint")),
                                    "nothing was removed"));
    ASSIGN_OR_RETURN(result, daemon->DeleteCheckpoints(run, ids, false));
  }
  if (session.json()) {
    Json all = Json::array();
    for (const Checkpoint& checkpoint : result.checkpoints) all.push_back(ToJson(checkpoint));
    session.PrintJson(Json{{"project", run.project},
                           {"run", run.run},
                           {"dry_run", options.dry_run},
                           {"removed", std::move(all)},
                           {"freed_bytes", result.freed_bytes}});
    return absl::OkStatus();
  }
  for (const Checkpoint& checkpoint : result.checkpoints) {
    session.Print(fmt::format("{} {}\n", options.dry_run ? "Would remove" : "Removed",
                              Reference(checkpoint)));
  }
  session.Print(fmt::format("{} {} given back.\n", FormatBytes(result.freed_bytes),
                            options.dry_run ? "would be" : "are"));
  return absl::OkStatus();
}

absl::Status Delete(Session& session, const Options& options) {
  if (options.run.empty() == options.checkpoints.empty()) {
    return BadField("RUN@SELECTOR", options.run.empty()
                                        ? "name what to delete: RUN@SELECTOR, or --run RUN for a "
                                          "whole run"
                                        : "give checkpoints or --run, not both");
  }
  if (!options.run.empty()) return DeleteRun(session, options);
  return DeleteCheckpoints(session, options);
}

}  // namespace

void AddDelete(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb =
      session.AddVerb(app, "delete", "Removes checkpoints whatever the policy says, or a whole run",
                      [options](Session& s) { return Delete(s, *options); });
  verb->add_option("RUN@SELECTOR", options->checkpoints, "Checkpoints of one run");
  verb->add_option("--run", options->run, "A whole run with all its checkpoints")->type_name("RUN");
  verb->add_flag("--dry-run", options->dry_run, "Only show what would go");
  session.AddYesFlag(verb);
}

}  // namespace ckpt::ctl
