#include "client/ckptctl/json.h"
#include "client/ckptctl/table.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string project = kDefaultProject;
  std::string bytes, checkpoints, uploads;
};

std::string QuotaText(const Quota& quota) {
  const auto text = [](const Quota::Limit& limit, const auto& format) {
    return fmt::format("{} of {}{}", format(limit.used),
                       limit.limit == 0 ? "any" : format(limit.limit),
                       limit.is_default ? " (the daemon's default)" : "");
  };
  const auto count = [](uint64_t n) { return fmt::format("{}", n); };
  Fields fields;
  fields.Add("Project", quota.project);
  fields.Add("Bytes on disk", text(quota.bytes, [](uint64_t n) { return FormatBytes(n); }));
  fields.Add("Checkpoints", text(quota.checkpoints, count));
  fields.Add("Open uploads", text(quota.uploads, count));
  return fields.ToString();
}

absl::Status Show(Session& session, const Quota& quota) {
  if (session.json()) {
    session.PrintJson(ToJson(quota));
  } else {
    session.Print(QuotaText(quota));
  }
  return absl::OkStatus();
}

absl::Status Get(Session& session, const Options& options) {
  RETURN_IF_ERROR(CheckName("project name", options.project));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const Quota quota, daemon->GetQuota(options.project));
  return Show(session, quota);
}

// Empty: as it is. `parse` reads what is neither none nor default.
template <typename Parse>
absl::StatusOr<std::optional<QuotaChange::Limit>> Change(const char* flag, const std::string& text,
                                                         const Parse& parse) {
  if (text.empty()) return std::nullopt;
  if (text == "none") return QuotaChange::Limit{uint64_t{0}};
  if (text == "default") return QuotaChange::Limit{};
  ASSIGN_OR_RETURN(const uint64_t limit, parse(text));
  if (limit == 0) {
    return BadField(flag, fmt::format("{}: a quota of zero would refuse every push; say none for "
                                      "no limit",
                                      flag));
  }
  return QuotaChange::Limit{limit};
}

absl::Status Set(Session& session, const Options& options) {
  RETURN_IF_ERROR(CheckName("project name", options.project));
  QuotaChange change;
  ASSIGN_OR_RETURN(change.bytes, Change("--bytes", options.bytes,
                                        [](const std::string& text) { return ParseBytes(text); }));
  ASSIGN_OR_RETURN(change.checkpoints,
                   Change("--checkpoints", options.checkpoints, [](const std::string& text) {
                     return ParseCount("--checkpoints", text);
                   }));
  ASSIGN_OR_RETURN(change.uploads,
                   Change("--uploads", options.uploads,
                          [](const std::string& text) { return ParseCount("--uploads", text); }));
  if (!change.bytes && !change.checkpoints && !change.uploads) {
    return BadField("quota", "say what to limit: --bytes, --checkpoints or --uploads");
  }
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const Quota quota, daemon->SetQuota(options.project, change));
  return Show(session, quota);
}

}  // namespace

void AddQuota(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* quota = app.add_subcommand(
      "quota", "Shows and sets what a project may have at most; pushes past it are refused");
  quota->require_subcommand(1);
  CLI::App* get = session.AddVerb(*quota, "get", "Shows what a project has and may have",
                                  [options](Session& s) { return Get(s, *options); });
  get->add_option("--project", options->project, "Whose")->capture_default_str();
  CLI::App* set = session.AddVerb(*quota, "set",
                                  "Sets the limits that are named: each a number, none, or default",
                                  [options](Session& s) { return Set(s, *options); });
  set->add_option("--project", options->project, "Whose")->capture_default_str();
  set->add_option("--bytes", options->bytes, "On disk, such as 500GiB")->type_name("SIZE");
  set->add_option("--checkpoints", options->checkpoints,
                  "Committed and on their way: one more than the policies keep")
      ->type_name("N");
  set->add_option("--uploads", options->uploads, "Open at a time, one a rank")->type_name("N");
}

}  // namespace ckpt::ctl
