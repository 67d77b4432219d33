#include "client/ckptctl/exit_codes.h"
#include "client/ckptctl/json.h"
#include "client/ckptctl/progress.h"
#include "client/ckptctl/table.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string target;
  bool all = false;
  std::string project;
};

absl::Status Verify(Session& session, const Options& options) {
  const bool all = options.all || !options.project.empty();
  if (all != options.target.empty()) {
    return BadField("RUN", all ? "give a run, or --all or --project, not both"
                               : "say what to verify: RUN, RUN@SELECTOR, --project or --all");
  }
  if (!options.project.empty()) RETURN_IF_ERROR(CheckName("project name", options.project));
  const std::string what = !all                      ? options.target
                           : options.project.empty() ? "all projects"
                                                     : "project " + options.project;
  CheckpointRef ref;
  if (!all) {
    ASSIGN_OR_RETURN(ref, ParseCheckpointRef(options.target));
  }
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  uint64_t id = 0;
  if (ref.selector) {
    ASSIGN_OR_RETURN(const Checkpoint checkpoint, session.Resolve(options.target));
    id = checkpoint.id;
  }
  ProgressBar bar("verify " + Printable(what, 40));
  const auto show = [&](const VerifyProgress& progress) {
    bar.Update(progress.bytes_done, progress.bytes_total);
  };
  ASSIGN_OR_RETURN(const VerifyResult result, all ? daemon->VerifyAll(options.project, show)
                                                  : daemon->Verify(ref.run, id, show));
  bar.Clear();
  if (session.json()) {
    Json damages = Json::array();
    for (const Damage& damage : result.damages) damages.push_back(ToJson(damage));
    session.PrintJson(Json{{"bytes", result.bytes},
                           {"chunks", result.chunks},
                           {"whole", result.damages.empty()},
                           {"damages", std::move(damages)}});
  } else if (result.damages.empty()) {
    session.Print(fmt::format("Whole: {} in {} read, every digest right.\n",
                              FormatBytes(result.bytes), Count(result.chunks, "chunk")));
  } else {
    Table table({{"RUN"},
                 {"STEP", Table::Align::kRight},
                 {"RANK", Table::Align::kRight},
                 {"ENTRY"},
                 {"DAMAGE"}});
    for (const Damage& damage : result.damages) {
      table.Add({damage.run.ToString(), fmt::format("{}", damage.step),
                 fmt::format("{}", damage.rank), damage.entry, damage.text});
    }
    session.Print(table.ToString());
  }
  if (result.damages.empty()) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kDataLoss, reason::kChunkDamaged,
      fmt::format("{} found in {}; what is damaged is marked so and no resume takes it",
                  Count(result.damages.size(), "damage"), Printable(what)));
}

}  // namespace

void AddVerify(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = session.AddVerb(app, "verify", "Reads stored bytes and compares every digest",
                                   [options](Session& s) { return Verify(s, *options); });
  verb->add_option("RUN[@SELECTOR]", options->target, "A checkpoint, or all of a run");
  verb->add_flag("--all", options->all, "All runs of all projects");
  verb->add_option("--project", options->project, "All runs of this project");
}

}  // namespace ckpt::ctl
