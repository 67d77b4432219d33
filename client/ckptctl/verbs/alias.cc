#include "client/ckptctl/json.h"
#include "client/ckptctl/table.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string target;
  std::string alias;
};

absl::Status Set(Session& session, const Options& options) {
  RETURN_IF_ERROR(CheckAlias(options.alias));
  ASSIGN_OR_RETURN(const Checkpoint found, session.ResolveExactly(options.target));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                   daemon->SetAlias(found.run, options.alias, found.id));
  if (session.json()) {
    session.PrintJson(ToJson(checkpoint));
  } else {
    session.Print(fmt::format("{}@{} is step {} now.\n", found.run.ToString(), options.alias,
                              checkpoint.step));
  }
  return absl::OkStatus();
}

absl::Status Delete(Session& session, const Options& options) {
  RETURN_IF_ERROR(CheckAlias(options.alias));
  ASSIGN_OR_RETURN(const RunName run, session.ParseRun(options.target));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  RETURN_IF_ERROR(daemon->DeleteAlias(run, options.alias));
  if (session.json()) {
    session.PrintJson(Json{{"project", run.project}, {"run", run.run}, {"deleted", options.alias}});
  } else {
    session.Print(fmt::format("The alias {} of {} is gone; its checkpoint was not touched.\n",
                              options.alias, run.ToString()));
  }
  return absl::OkStatus();
}

absl::Status List(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(const RunName run, session.ParseRun(options.target));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const std::vector<Checkpoint> checkpoints, daemon->ListCheckpoints(run));
  Json all = Json::array();
  Table table({{"ALIAS"}, {"STEP", Table::Align::kRight}});
  for (const Checkpoint& checkpoint : checkpoints) {
    for (const std::string& alias : checkpoint.aliases) {
      all.push_back(
          {{"alias", alias}, {"step", checkpoint.step}, {"checkpoint_id", checkpoint.id}});
      table.Add({alias, fmt::format("{}", checkpoint.step)});
    }
  }
  if (session.json()) {
    session.PrintJson(
        Json{{"project", run.project}, {"run", run.run}, {"aliases", std::move(all)}});
  } else {
    session.Print(table.rows() == 0 ? "No aliases.\n" : table.ToString());
  }
  return absl::OkStatus();
}

}  // namespace

void AddAlias(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* alias = app.add_subcommand("alias", "Names checkpoints: RUN@NAME");
  alias->require_subcommand(1);
  CLI::App* set =
      session.AddVerb(*alias, "set", "Gives a checkpoint a name, or moves the name to it",
                      [options](Session& s) { return Set(s, *options); });
  set->add_option("RUN@SELECTOR", options->target, "The checkpoint")->required();
  set->add_option("NAME", options->alias, "The name")->required();
  CLI::App* remove = session.AddVerb(*alias, "delete", "Takes a name away",
                                     [options](Session& s) { return Delete(s, *options); });
  remove->add_option("RUN", options->target, "RUN or PROJECT/RUN")->required();
  remove->add_option("NAME", options->alias, "The name")->required();
  CLI::App* list = session.AddVerb(*alias, "list", "Shows a run's names",
                                   [options](Session& s) { return List(s, *options); });
  list->add_option("RUN", options->target, "RUN or PROJECT/RUN")->required();
}

}  // namespace ckpt::ctl
