#include "client/ckptctl/json.h"
#include "client/ckptctl/table.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string target;
  std::string limit = "100";
};

absl::Status History(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(const uint64_t limit, ParseCount("--limit", options.limit));
  ASSIGN_OR_RETURN(const CheckpointRef ref, ParseCheckpointRef(options.target));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  uint64_t checkpoint_id = 0;
  if (ref.selector) {
    ASSIGN_OR_RETURN(const Checkpoint checkpoint, session.Resolve(options.target, true));
    checkpoint_id = checkpoint.id;
  }
  ASSIGN_OR_RETURN(std::vector<Event> events, daemon->ListEvents(ref.run, checkpoint_id, limit));
  // Told from the beginning, as one reads it.
  std::reverse(events.begin(), events.end());
  if (session.json()) {
    Json all = Json::array();
    for (const Event& event : events) all.push_back(ToJson(event));
    session.PrintJson(
        Json{{"project", ref.run.project}, {"run", ref.run.run}, {"events", std::move(all)}});
    return absl::OkStatus();
  }
  if (events.empty()) {
    session.Print("Nothing has happened yet.\n");
    return absl::OkStatus();
  }
  Table table({{"TIME"}, {"STEP", Table::Align::kRight}, {"EVENT"}, {"WHAT HAPPENED"}});
  for (const Event& event : events) {
    table.Add({TimeText(event.at, absl::LocalTimeZone()),
               event.checkpoint_id != 0 ? fmt::format("{}", event.step) : "",
               EventKindName(event.kind), event.text});
  }
  session.Print(table.ToString());
  return absl::OkStatus();
}

}  // namespace

void AddHistory(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = session.AddVerb(app, "history",
                                   "Tells what happened to a run or checkpoint: where did it go?",
                                   [options](Session& s) { return History(s, *options); });
  verb->add_option("RUN[@SELECTOR]", options->target, "A run, or a checkpoint (removed ones too)")
      ->required();
  verb->add_option("-n,--limit", options->limit, "At most so many, the newest; 0 for all")
      ->type_name("N")
      ->capture_default_str();
}

}  // namespace ckpt::ctl
