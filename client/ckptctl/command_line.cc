#include "client/ckptctl/command_line.h"

#include <algorithm>
#include <iostream>
#include <numeric>

#include <fmt/ranges.h>

#include "client/ckptctl/exit_codes.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::vector<std::string> VerbNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!verb->get_group().empty()) names.push_back(verb->get_name());
  }
  return names;
}

std::vector<std::string> FlagNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

const CLI::Option* FindFlag(const CLI::App& app, const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  for (const CLI::Option* option : app.get_options()) {
    if (name.size() > 2 && name.starts_with("--") && option->check_lname(name.substr(2)))
      return option;
    if (name.size() == 2 && name[0] == '-' && option->check_sname(name.substr(1))) return option;
  }
  return nullptr;
}

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

absl::Status Usage(const std::string& text) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kBadField, text);
}

// "ckptctl policy set", as far as verbs were understood.
std::string Path(const CLI::App& app) {
  if (app.get_parent() == nullptr) return app.get_name();
  return Path(*app.get_parent()) + " " + app.get_name();
}

// The innermost verb that `args` name, and how many of them say so.
struct Position {
  CLI::App* app;
  size_t next = 0;       // of the word after the verbs
  bool unknown = false;  // it should have been a verb
};
Position FindVerb(CLI::App& root, const std::vector<std::string>& args) {
  Position at{&root};
  while (at.next < args.size()) {
    const std::string& word = args[at.next];
    if (VerbNames(*at.app).empty() || word == "--") break;
    if (word.starts_with('-') && word.size() > 1) {
      const CLI::Option* flag = FindFlag(*at.app, word);
      if (flag == nullptr) break;
      const bool separate = TakesValue(*flag) && word.find('=') == std::string::npos;
      at.next += separate ? 2 : 1;
      continue;
    }
    const auto verbs =
        at.app->get_subcommands([&](CLI::App* verb) { return verb->get_name() == word; });
    CLI::App* verb = verbs.empty() ? nullptr : verbs[0];
    if (verb == nullptr) {
      at.unknown = true;
      break;
    }
    at.app = verb;
    ++at.next;
  }
  at.next = std::min(at.next, args.size());
  return at;
}

}  // namespace

std::string Nearest(const std::string& word, const std::vector<std::string>& candidates) {
  if (word.size() > 40) return "";
  std::string nearest;
  size_t best = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const bool begins = word.size() >= 3 && candidate.starts_with(word);
    const size_t distance = begins ? 1 : EditDistance(word, candidate);
    if (distance < best && distance < candidate.size()) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

std::unique_ptr<CLI::App> BuildCommandLine(Session& session) {
  auto app = std::make_unique<CLI::App>(
      "Looks at and looks after the checkpoints that ckptd keeps.\n\n"
      "A checkpoint is named RUN@SELECTOR: gpt@latest, gpt@best, gpt@best:val_loss, gpt@1000 (a\n"
      "step), gpt@release (an alias) or gpt@id:7. A run in another project is PROJECT/RUN.",
      "ckptctl");
  app->require_subcommand(1);
  app->footer(kExitCodesHelp);
  app->set_version_flag("--version", "ckptctl " CKPT_VERSION);
  session.AddGlobalFlags(app.get());
  AddRuns(*app, session);
  AddList(*app, session);
  AddDescribe(*app, session);
  AddHistory(*app, session);
  AddWatch(*app, session);
  AddFetch(*app, session);
  AddPush(*app, session);
  AddDiff(*app, session);
  AddVerify(*app, session);
  AddScrub(*app, session);
  AddStats(*app, session);
  AddHealth(*app, session);
  AddBackup(*app, session);
  AddPrune(*app, session);
  AddDelete(*app, session);
  AddRestore(*app, session);
  AddRewind(*app, session);
  AddPin(*app, session);
  AddUnpin(*app, session);
  AddAlias(*app, session);
  AddPolicy(*app, session);
  AddBudget(*app, session);
  AddQuota(*app, session);
  AddToken(*app, session);
  AddCompletion(*app, session);
  AddVersion(*app, session);
  return app;
}

absl::Status ParseCommandLine(CLI::App& app, const std::vector<std::string>& args, bool& handled) {
  const Position at = FindVerb(app, args);
  if (at.unknown) {
    const std::string& word = args[at.next];
    const std::string nearest = Nearest(word, VerbNames(*at.app));
    return Usage(fmt::format("{} has no verb '{}'; {}", Path(*at.app), Printable(word, 40),
                             nearest.empty() ? fmt::format("see {} --help", Path(*at.app))
                                             : fmt::format("did you mean '{}'?", nearest)));
  }
  for (size_t i = at.next; i < args.size() && args[i] != "--"; ++i) {
    // A slip in a flag is better said than guessed from what it leaves over.
    const std::string& word = args[i];
    if (!word.starts_with("--") || FindFlag(*at.app, word) != nullptr) continue;
    const CLI::Option* before = i > at.next ? FindFlag(*at.app, args[i - 1]) : nullptr;
    if (before != nullptr && TakesValue(*before)) continue;
    const std::string flag = word.substr(0, word.find('='));
    const std::string nearest = Nearest(flag, FlagNames(*at.app));
    return Usage(fmt::format("{} has no flag '{}'; {}", Path(*at.app), Printable(flag, 40),
                             nearest.empty() ? fmt::format("see {} --help", Path(*at.app))
                                             : fmt::format("did you mean '{}'?", nearest)));
  }
  try {
    std::vector<std::string> reversed(args.rbegin(), args.rend());
    app.parse(reversed);
  } catch (const CLI::Success& help) {
    handled = true;
    app.exit(help, std::cout, std::cerr);
  } catch (const CLI::ParseError& error) {
    const std::vector<std::string> verbs = VerbNames(*at.app);
    if (!verbs.empty()) {
      if (at.app->get_parent() == nullptr) return Usage("a verb is missing; see ckptctl --help");
      return Usage(fmt::format("{} needs one of: {}", Path(*at.app), fmt::join(verbs, ", ")));
    }
    return Usage(fmt::format("{}: {}; see {} --help", at.app->get_name(),
                             Printable(error.what(), 400), Path(*at.app)));
  }
  return absl::OkStatus();
}

std::vector<std::string> Complete(CLI::App& app, Session& session,
                                  const std::vector<std::string>& words) {
  if (words.empty()) return VerbNames(app);
  const std::string& current = words.back();
  const std::vector<std::string> before(words.begin(), words.end() - 1);
  const Position at = FindVerb(app, before);
  if (at.unknown) return {};

  std::vector<std::string> candidates;
  const CLI::Option* pending = nullptr;  // a flag that waits for its value
  size_t positional = 0;
  for (size_t i = at.next; i < before.size(); ++i) {
    const CLI::Option* flag = before[i].starts_with('-') ? FindFlag(*at.app, before[i]) : nullptr;
    if (pending != nullptr) {
      pending = nullptr;
    } else if (flag != nullptr) {
      if (TakesValue(*flag) && before[i].find('=') == std::string::npos) pending = flag;
    } else {
      ++positional;
    }
  }
  if (pending != nullptr) {
    if (pending->check_lname("output") && at.app->get_name() != "fetch") {
      candidates = {"table", "json"};
    } else if (pending->check_lname("unset")) {
      candidates = {"keep-last",  "keep-best",   "keep-every-steps", "keep-within", "keep-hourly",
                    "keep-daily", "keep-weekly", "keep-monthly",     "keep-yearly", "keep-bytes"};
    } else if (pending->check_lname("role")) {
      candidates = {"read", "write", "admin"};
    } else if (pending->check_lname("run")) {
      candidates = session.CompleteRuns(current, false);
    }
  } else if (current.starts_with('-')) {
    candidates = FlagNames(*at.app);
  } else if (const auto verbs = VerbNames(*at.app); !verbs.empty()) {
    candidates = verbs;
  } else {
    std::vector<std::string> names;
    for (const CLI::Option* option : at.app->get_options()) {
      if (option->get_positional()) names.push_back(option->get_name(true));
    }
    if (positional >= names.size() && !names.empty() && at.app->get_name() == "delete") {
      positional = names.size() - 1;
    }
    const std::string name = positional < names.size() ? names[positional] : "";
    if (name == "RUN") {
      candidates = session.CompleteRuns(current, false);
    } else if (name.starts_with("RUN") || name == "BEFORE" || name == "AFTER") {
      candidates = session.CompleteRuns(current, true);
    } else if (name == "SHELL") {
      candidates = {"bash", "zsh"};
    }
  }
  std::erase_if(candidates, [&](const std::string& c) { return !c.starts_with(current); });
  std::sort(candidates.begin(), candidates.end());
  return candidates;
}

}  // namespace ckpt::ctl
