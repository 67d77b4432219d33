// What every verb works with: the flags that all share, the daemon, the
// terminal, and what to do when interrupted.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include "client/client.h"
#include "client/transfer.h"
#include "proto/model.h"
#include "proto/names.h"

namespace ckpt::ctl {

// One invocation of ckptctl. Main thread only.
class Session {
 public:
  using Action = std::function<absl::Status(Session&)>;

  // ---- While the command line is being described ----------------------------

  // A verb: its common flags are added, and `action` runs if it is chosen.
  CLI::App* AddVerb(CLI::App& parent, const std::string& name, const std::string& description,
                    Action action, bool short_output_flag = true);
  // Those that can stand before the verb too.
  void AddGlobalFlags(CLI::App* app);
  // --yes, for verbs that take something away.
  void AddYesFlag(CLI::App* verb);

  // Runs the chosen verb.
  absl::Status Run();

  // ---- For verbs -------------------------------------------------------------

  bool json() const { return json_ || output_ == "json"; }
  bool assume_yes() const { return yes_; }

  // The daemon, for questions: gives up after a few seconds of silence.
  absl::StatusOr<Client*> Daemon();
  // The daemon, for bytes: rides out a restart.
  absl::StatusOr<Client*> Transfers();

  // RUN, without a selector.
  absl::StatusOr<RunName> ParseRun(const std::string& text) const;
  // RUN@SELECTOR, both there.
  absl::StatusOr<CheckpointRef> ParseRef(const std::string& text) const;
  // Asks the daemon which checkpoint RUN@SELECTOR is. When something else than
  // what was named is offered (a damaged one skipped), says so on stderr.
  absl::StatusOr<Checkpoint> Resolve(const std::string& text, bool include_removed = false);
  // For verbs that change something: FAILED_PRECONDITION where Resolve would
  // take another checkpoint than the one named.
  absl::StatusOr<Checkpoint> ResolveExactly(const std::string& text, bool include_removed = false);

  // For the shell: runs that `text` can become and, with `selectors`, what can
  // follow "RUN@". Empty when the daemon does not answer at once.
  std::vector<std::string> CompleteRuns(const std::string& text, bool selectors);

  // To standard output.
  void Print(std::string_view text);
  // As JSON with a newline; what is not UTF-8 becomes U+FFFD.
  template <typename Json>
  void PrintJson(const Json& json) {
    Print(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  }
  // A line for people on standard error.
  void Note(std::string_view text);

  // Asks `question` on the terminal. OK to go on. FAILED_PRECONDITION when the
  // answer was no, or when nobody can be asked and --yes is absent; `nothing`
  // says what was not done ("nothing was removed"). `answer`: what has to be
  // typed; empty: y.
  absl::Status Confirm(const std::string& question, const std::string& nothing,
                       const std::string& answer = "");

  // The exit status of a verb that succeeded; 0 unless set.
  void SetExitCode(int code) { exit_code_ = code; }
  int exit_code() const { return exit_code_; }

  // Requested by SIGINT or SIGTERM while `Transfer` lives; without one the
  // signals end the process as they always do.
  Cancel& cancel();
  class Transfer {
   public:
    Transfer();
    ~Transfer();
    Transfer(const Transfer&) = delete;
    Transfer& operator=(const Transfer&) = delete;
  };

 private:
  void AddCommonFlags(CLI::App* verb, bool short_output_flag);
  absl::StatusOr<Resolved> Ask(const std::string& text, bool include_removed);
  absl::StatusOr<std::unique_ptr<Client>> Connect(absl::Duration at_least);

  CredentialOptions credentials_;
  std::string address_, output_ = "table", wait_ = "2s";
  bool json_ = false, yes_ = false;
  int exit_code_ = 0;
  Action action_;
  std::unique_ptr<Client> daemon_, transfers_;
};

// Starts watching for SIGINT and SIGTERM; before any other thread starts.
void WatchSignals();

// The daemon's names for `text` as an argument of a shell command.
std::string Reference(const Checkpoint& checkpoint);

}  // namespace ckpt::ctl
