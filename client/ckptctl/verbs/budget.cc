#include <absl/time/clock.h>

#include "client/ckptctl/json.h"
#include "client/ckptctl/show.h"
#include "client/ckptctl/table.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string size;
  std::string project = kDefaultProject;
  bool back_to_default = false;
  bool dry_run = false;
};

std::string BudgetText(const Budget& budget) {
  std::string size = budget.bytes == 0 ? "none" : FormatBytesExact(budget.bytes);
  if (budget.is_default) size += " (the daemon's default)";
  Fields fields;
  fields.Add("Project", budget.project);
  fields.Add("Budget", size);
  fields.Add("Stored", FormatBytes(budget.stored_bytes));
  return fields.ToString();
}

absl::Status Get(Session& session, const Options& options) {
  RETURN_IF_ERROR(CheckName("project name", options.project));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const Budget budget, daemon->GetBudget(options.project));
  if (session.json()) {
    session.PrintJson(ToJson(budget));
  } else {
    session.Print(BudgetText(budget));
  }
  return absl::OkStatus();
}

// What goes, by run; a run's policy says nothing here.
std::string ChangeText(const BudgetChange& change, bool dry_run) {
  if (change.checkpoints.empty()) {
    return fmt::format("{}\nNothing {} for it.\n", BudgetText(change.budget),
                       dry_run ? "would go" : "was removed");
  }
  Table table({{"RUN"},
               {"STEP", Table::Align::kRight},
               {"AGE", Table::Align::kRight},
               {"SIZE", Table::Align::kRight},
               {"WHY"}});
  const absl::Time now = absl::Now();
  for (const Checkpoint& c : change.checkpoints) {
    table.Add({c.run.ToString(), fmt::format("{}", c.step), FormatAge(now - c.committed_at),
               FormatBytes(c.bytes), ReasonsText(c.verdict)});
  }
  return fmt::format("{}:\n{}\n{}\n{} {}, {} given back.\n",
                     dry_run ? "Would be removed" : "Removed", table.ToString(),
                     BudgetText(change.budget), Count(change.checkpoints.size(), "checkpoint"),
                     dry_run ? "would go" : "went", FormatBytes(change.freed_bytes));
}

absl::Status Set(Session& session, const Options& options) {
  RETURN_IF_ERROR(CheckName("project name", options.project));
  if (options.size.empty() != options.back_to_default) {
    return BadField("SIZE", options.back_to_default
                                ? "give a size or --default, not both"
                                : "say how much the project may take, such as 500GiB, or none, or "
                                  "--default for the daemon's default");
  }
  std::optional<uint64_t> bytes;
  if (options.size == "none") {
    bytes = 0;
  } else if (!options.back_to_default) {
    ASSIGN_OR_RETURN(bytes, ParseBytes(options.size));
    if (*bytes == 0) {
      return BadField("SIZE",
                      "a budget of zero would keep nothing but the newest; say none for no "
                      "budget");
    }
  }
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(BudgetChange change, daemon->SetBudget(options.project, bytes, true));
  if (!options.dry_run) {
    if (!change.checkpoints.empty() && !session.assume_yes()) {
      if (!session.json()) session.Print(ChangeText(change, true));
      RETURN_IF_ERROR(session.Confirm(fmt::format("Set this budget and remove {}?",
                                                  Count(change.checkpoints.size(), "checkpoint")),
                                      "the budget was not changed"));
    }
    ASSIGN_OR_RETURN(change, daemon->SetBudget(options.project, bytes, false));
  }
  if (session.json()) {
    Json json = ToJson(change.budget);
    json["dry_run"] = options.dry_run;
    json["removed"] = Json::array();
    for (const Checkpoint& c : change.checkpoints) json["removed"].push_back(ToJson(c));
    json["freed_bytes"] = change.freed_bytes;
    session.PrintJson(json);
    return absl::OkStatus();
  }
  session.Print(ChangeText(change, options.dry_run));
  if (options.dry_run) session.Print("The budget was not changed: this was a dry run.\n");
  return absl::OkStatus();
}

}  // namespace

void AddBudget(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* budget = app.add_subcommand(
      "budget", "Shows and sets what a project's runs may take on disk together");
  budget->require_subcommand(1);
  CLI::App* get = session.AddVerb(*budget, "get", "Shows the budget in force",
                                  [options](Session& s) { return Get(s, *options); });
  get->add_option("--project", options->project, "Whose")->capture_default_str();
  CLI::App* set =
      session.AddVerb(*budget, "set", "Sets the budget; shows first what would go for it",
                      [options](Session& s) { return Set(s, *options); });
  set->add_option("SIZE", options->size, "Such as 500GiB, or none");
  set->add_option("--project", options->project, "Whose")->capture_default_str();
  set->add_flag("--default", options->back_to_default, "Back to the daemon's default budget");
  set->add_flag("--dry-run", options->dry_run, "Only show what would go");
  session.AddYesFlag(set);
}

}  // namespace ckpt::ctl
