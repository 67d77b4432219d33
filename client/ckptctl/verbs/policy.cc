#include <absl/time/clock.h>

#include "client/ckptctl/json.h"
#include "client/ckptctl/policy_flags.h"
#include "client/ckptctl/show.h"
#include "client/ckptctl/table.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string run;
  PolicyFlags flags;
  bool back_to_default = false;
  bool dry_run = false;
};

std::string PolicyText(const Policy& p) {
  Fields fields;
  const auto count = [&](const char* name, const auto& value) {
    if (value) fields.Add(name, fmt::format("{}", *value));
  };
  count("keep-last", p.keep_last);
  for (const BestRule& rule : p.keep_best) {
    fields.Add("keep-best", fmt::format("{}:{}:{}", rule.count, rule.metric,
                                        rule.mode == MetricMode::kMax ? "max" : "min"));
  }
  count("keep-every-steps", p.keep_every_steps);
  if (p.keep_within) fields.Add("keep-within", DurationText(*p.keep_within));
  count("keep-hourly", p.keep_hourly);
  count("keep-daily", p.keep_daily);
  count("keep-weekly", p.keep_weekly);
  count("keep-monthly", p.keep_monthly);
  count("keep-yearly", p.keep_yearly);
  if (p.keep_bytes) fields.Add("keep-bytes", FormatBytesExact(*p.keep_bytes));
  if (!p.has_rules()) fields.Add("rules", "none: everything is kept");
  fields.Add("metric-grace", DurationText(p.metric_grace));
  fields.Add("restore-grace", DurationText(p.restore_grace));
  fields.Add("upload-deadline", DurationText(p.upload_deadline));
  fields.Add("max-failed-resumes", fmt::format("{}", p.max_failed_resumes));
  return fields.ToString();
}

absl::Status Get(Session& session, const Options& options) {
  std::optional<RunName> run;
  if (options.run.empty() != options.back_to_default) {
    return BadField("RUN", options.run.empty()
                               ? "name the run, or say --default for the daemon's default policy"
                               : "give a run or --default, not both");
  }
  if (!options.run.empty()) {
    ASSIGN_OR_RETURN(run, session.ParseRun(options.run));
  }
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const PolicyInForce in_force, daemon->GetPolicy(run));
  if (session.json()) {
    session.PrintJson(
        Json{{"policy", ToJson(in_force.policy)}, {"is_default", in_force.is_default}});
    return absl::OkStatus();
  }
  if (run && in_force.is_default) session.Print("The daemon's default:\n");
  session.Print(PolicyText(in_force.policy));
  return absl::OkStatus();
}

absl::Status Set(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(const RunName run, session.ParseRun(options.run));
  if (options.back_to_default == options.flags.any()) {
    return BadField("policy", options.back_to_default
                                  ? "give rules or --default, not both"
                                  : "say what to change, such as --keep-last 5, or --default");
  }
  // What can be wrong with the flags is said before the daemon is asked.
  if (options.flags.unset.empty()) {
    RETURN_IF_ERROR(options.flags.Apply(Policy()).status());
  }
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const PolicyInForce old, daemon->GetPolicy(run));
  std::optional<Policy> policy;
  if (!options.back_to_default) {
    ASSIGN_OR_RETURN(policy, options.flags.Apply(old.policy));
  }
  ASSIGN_OR_RETURN(PolicyChange change, daemon->SetPolicy(run, policy, true, old.policy.version));
  const size_t going = Removed(change.result);
  if (!options.dry_run) {
    if (going > 0 && !session.assume_yes()) {
      if (!session.json()) session.Print(PruneText(change.result, true, absl::Now()));
      RETURN_IF_ERROR(
          session.Confirm(fmt::format("Set this policy and remove {}?", Count(going, "checkpoint")),
                          "the policy was not changed"));
    }
    ASSIGN_OR_RETURN(change, daemon->SetPolicy(run, policy, false, old.policy.version));
  }
  if (session.json()) {
    Json json = ToJson(change.result, options.dry_run);
    json["policy"] = ToJson(change.policy);
    session.PrintJson(json);
    return absl::OkStatus();
  }
  session.Print(PruneText(change.result, options.dry_run, absl::Now()));
  if (options.dry_run) session.Print("The policy was not changed: this was a dry run.\n");
  return absl::OkStatus();
}

}  // namespace

void AddPolicy(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* policy = app.add_subcommand("policy", "Shows and sets what a run keeps");
  policy->require_subcommand(1);
  CLI::App* get = session.AddVerb(*policy, "get", "Shows the policy in force",
                                  [options](Session& s) { return Get(s, *options); });
  get->add_option("RUN", options->run, "RUN or PROJECT/RUN");
  get->add_flag("--default", options->back_to_default, "The daemon's default policy");
  CLI::App* set = session.AddVerb(
      *policy, "set",
      "Changes the rules that are named, and leaves the others; shows first what would go",
      [options](Session& s) { return Set(s, *options); });
  set->add_option("RUN", options->run, "RUN or PROJECT/RUN")->required();
  options->flags.AddTo(set);
  set->add_flag("--default", options->back_to_default, "Back to the daemon's default policy");
  set->add_flag("--dry-run", options->dry_run, "Only show what would go");
  session.AddYesFlag(set);
}

}  // namespace ckpt::ctl
