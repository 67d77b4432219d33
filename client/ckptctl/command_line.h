// The command line as a whole: the verbs, what is said about nonsense, and
// what the shell completes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "client/ckptctl/session.h"

namespace ckpt::ctl {

// The application with every verb. `session` outlives it.
std::unique_ptr<CLI::App> BuildCommandLine(Session& session);

// Parses. INVALID_ARGUMENT in one sentence, with a suggestion where there is
// one; `handled` is set when help or version was asked for and printed.
absl::Status ParseCommandLine(CLI::App& app, const std::vector<std::string>& args, bool& handled);

// What can stand where the last of `words` is being typed (the words after
// "ckptctl"). Names of runs and selectors come from `session`'s daemon; if it
// does not answer there are none.
std::vector<std::string> Complete(CLI::App& app, Session& session,
                                  const std::vector<std::string>& words);

// The nearest of `candidates`, if near enough to be a slip of the fingers.
std::string Nearest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace ckpt::ctl
