#include <absl/time/clock.h>

#include "client/ckptctl/json.h"
#include "client/ckptctl/table.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string name;
  std::string project;
  bool all_projects = false;
  std::string role;
  std::string expires;
  bool ended = false;
  std::string id;
};

std::string ProjectText(const Token& token) {
  return token.project.empty() ? "(all)" : token.project;
}

absl::Status Create(Session& session, const Options& options) {
  RETURN_IF_ERROR(CheckLabelName("token name", options.name));
  if (options.all_projects && !options.project.empty()) {
    return BadField("--project", "give a project or --all-projects, not both");
  }
  TokenSpec spec;
  spec.name = options.name;
  const std::optional<Role> role = ParseRole(options.role);
  if (!role) {
    return BadField("--role", fmt::format("a token's role is read, write or admin, not \"{}\"",
                                          Printable(options.role)));
  }
  spec.role = *role;
  if (!options.all_projects) {
    spec.project = options.project.empty() ? kDefaultProject : options.project;
    RETURN_IF_ERROR(CheckName("project name", spec.project));
  }
  if (!options.expires.empty()) {
    ASSIGN_OR_RETURN(spec.lifetime, ParseDuration(options.expires));
  }
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const NewToken made, daemon->CreateToken(spec));
  if (session.json()) {
    Json json = ToJson(made.token);
    json["text"] = made.text;
    session.PrintJson(json);
    return absl::OkStatus();
  }
  // Nothing else on standard output: it can go straight into a file.
  session.Note(fmt::format("Token {} ({}, {} on {}). It is shown only now:", made.token.id,
                           made.token.name, RoleName(made.token.role), ProjectText(made.token)));
  session.Print(made.text + "\n");
  return absl::OkStatus();
}

absl::Status List(Session& session, const Options& options) {
  if (!options.project.empty()) RETURN_IF_ERROR(CheckName("project name", options.project));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const std::vector<Token> tokens,
                   daemon->ListTokens(options.project, options.ended));
  if (session.json()) {
    Json all = Json::array();
    for (const Token& token : tokens) all.push_back(ToJson(token));
    session.PrintJson(Json{{"tokens", std::move(all)}});
    return absl::OkStatus();
  }
  const absl::Time now = absl::Now();
  const auto age = [&](const std::optional<absl::Time>& at) {
    return at ? FormatAge(now - *at) : std::string("never");
  };
  Table table({{"ID"},
               {"NAME"},
               {"PROJECT"},
               {"ROLE"},
               {"AGE", Table::Align::kRight},
               {"USED", Table::Align::kRight},
               {"ENDS"}});
  for (const Token& token : tokens) {
    std::string ends = "never";
    if (token.expires_at) ends = TimeText(*token.expires_at, absl::LocalTimeZone());
    if (token.expires_at && *token.expires_at <= now) ends = "expired";
    if (token.revoked_at) ends = "revoked";
    table.Add({token.id, token.name, ProjectText(token), std::string(RoleName(token.role)),
               FormatAge(now - token.created_at), age(token.last_used_at), ends});
  }
  session.Print(table.rows() == 0 ? "No tokens.\n" : table.ToString());
  return absl::OkStatus();
}

absl::Status Revoke(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const Token token, daemon->RevokeToken(options.id));
  if (session.json()) {
    session.PrintJson(ToJson(token));
  } else {
    session.Print(
        fmt::format("Token {} ({}) is good for nothing any more.\n", token.id, token.name));
  }
  return absl::OkStatus();
}

}  // namespace

void AddToken(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* token =
      app.add_subcommand("token", "Makes, shows and revokes tokens, which say who may call");
  token->require_subcommand(1);
  CLI::App* create = session.AddVerb(*token, "create", "Makes a token and prints it, once",
                                     [options](Session& s) { return Create(s, *options); });
  create->add_option("NAME", options->name, "For people: whose it is, or what for")->required();
  create
      ->add_option("--role", options->role,
                   "read: look and fetch; write: train as well; admin: remove and decide too")
      ->required()
      ->type_name("read|write|admin");
  create->add_option("--project", options->project, "For which project (default: default)");
  create->add_flag("--all-projects", options->all_projects, "For all projects");
  create->add_option("--expires", options->expires, "Ends after this long, such as 30d")
      ->type_name("TIME");
  CLI::App* list = session.AddVerb(*token, "list", "Shows tokens, and when they were last used",
                                   [options](Session& s) { return List(s, *options); });
  list->add_option("--project", options->project, "Only those for this project");
  list->add_flag("-a,--all", options->ended, "Revoked and expired ones too");
  CLI::App* revoke = session.AddVerb(*token, "revoke", "Ends a token at once",
                                     [options](Session& s) { return Revoke(s, *options); });
  revoke->add_option("ID", options->id, "As token list shows it")->required();
}

}  // namespace ckpt::ctl
