#include "client/ckptctl/session.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <iostream>
#include <thread>

#include "client/address.h"
#include "client/ckptctl/units.h"

namespace ckpt::ctl {
namespace {

// Lives as long as the process: the signal thread may use it until the end.
Cancel& GlobalCancel() {
  static Cancel* const cancel = new Cancel;
  return *cancel;
}
std::atomic<int> transfers{0};

constexpr absl::Duration kTransferWindow = absl::Minutes(1);

}  // namespace

// ---- Signals ----------------------------------------------------------------

void WatchSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // inherited by every thread
  GlobalCancel();
  std::thread([signals] {
    while (true) {
      int number = 0;
      if (sigwait(&signals, &number) != 0) continue;
      // A second signal does not wait for anybody.
      if (transfers.load() == 0 || GlobalCancel().requested()) _exit(128 + number);
      GlobalCancel().Request();
    }
  }).detach();
}

Cancel& Session::cancel() { return GlobalCancel(); }
Session::Transfer::Transfer() { ++transfers; }
Session::Transfer::~Transfer() { --transfers; }

// ---- The command line --------------------------------------------------------

CLI::App* Session::AddVerb(CLI::App& parent, const std::string& name,
                           const std::string& description, Action action, bool short_output_flag) {
  CLI::App* verb = parent.add_subcommand(name, description);
  AddCommonFlags(verb, short_output_flag);
  verb->callback([this, action = std::move(action)] { action_ = action; });
  return verb;
}

void Session::AddGlobalFlags(CLI::App* verb) {
  constexpr char kGroup[] = "Common flags";
  verb->add_option("--address", address_,
                   "Where ckptd is: host:port or unix:PATH. Else $CKPTD_ADDRESS, else the line "
                   "address = \"...\" of ~/.config/ckptd/client.toml, else 127.0.0.1:7420")
      ->type_name("ADDRESS")
      ->group(kGroup);
  verb->add_option("--wait", wait_, "How long to try when the daemon does not answer (default 2s)")
      ->type_name("TIME")
      ->group(kGroup);
  const auto file = [&](const char* flag, std::string& value, const char* text) {
    verb->add_option(flag, value, text)->type_name("FILE")->group(kGroup);
  };
  file("--token-file", credentials_.token_file,
       "Holds the token to send; else $CKPTD_TOKEN, $CKPTD_TOKEN_FILE, or token_file of "
       "client.toml");
  file("--tls-ca", credentials_.tls.ca,
       "TLS: who signed the daemon's certificate; else $CKPTD_TLS_CA, or tls_ca of client.toml");
  file("--tls-cert", credentials_.tls.cert,
       "TLS: the certificate to show, if the daemon wants one");
  file("--tls-key", credentials_.tls.key, "TLS: its key");
}

void Session::AddCommonFlags(CLI::App* verb, bool short_output_flag) {
  constexpr char kGroup[] = "Common flags";
  AddGlobalFlags(verb);
  if (short_output_flag) {
    verb->add_option("-o,--output", output_, "table for people (default) or json for programs")
        ->type_name("table|json")
        ->check(CLI::IsMember({"table", "json"}))
        ->group(kGroup);
  }
  verb->add_flag("--json", json_, "The answer as JSON, for programs")->group(kGroup);
}

void Session::AddYesFlag(CLI::App* verb) {
  verb->add_flag("-y,--yes", yes_, "Do not ask; needed where standard input is no terminal");
}

absl::Status Session::Run() {
  if (!action_) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kBadField,
                     "a verb is missing; see ckptctl --help");
  }
  RETURN_IF_ERROR(action_(*this));
  if (fflush(stdout) != 0 || ferror(stdout) != 0) {
    return MakeError(absl::StatusCode::kInternal, reason::kIoError,
                     "cannot write to standard output");
  }
  return absl::OkStatus();
}

// ---- The daemon ----------------------------------------------------------------

absl::StatusOr<std::unique_ptr<Client>> Session::Connect(absl::Duration at_least) {
  ASSIGN_OR_RETURN(const absl::Duration wait, ParseDuration(wait_));
  std::optional<std::string> flag;
  if (!address_.empty()) flag = address_;
  ASSIGN_OR_RETURN(const ResolvedAddress resolved, ResolveAddress(flag));
  ClientOptions options;
  options.address = resolved.address;
  options.credentials = credentials_;
  options.retry.window = std::max(wait, at_least);
  options.retry.max_backoff = absl::Seconds(1);
  return Client::Connect(std::move(options));
}

absl::StatusOr<Client*> Session::Daemon() {
  if (daemon_ == nullptr) {
    ASSIGN_OR_RETURN(daemon_, Connect(absl::ZeroDuration()));
  }
  return daemon_.get();
}

absl::StatusOr<Client*> Session::Transfers() {
  if (transfers_ == nullptr) {
    ASSIGN_OR_RETURN(transfers_, Connect(kTransferWindow));
  }
  return transfers_.get();
}

absl::StatusOr<RunName> Session::ParseRun(const std::string& text) const {
  ASSIGN_OR_RETURN(const CheckpointRef ref, ParseCheckpointRef(text));
  if (ref.selector.has_value()) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kBadField,
                     fmt::format("'{}' names a checkpoint, but a run is wanted here: {}",
                                 Printable(text), ref.run.ToString()));
  }
  return ref.run;
}

absl::StatusOr<CheckpointRef> Session::ParseRef(const std::string& text) const {
  ASSIGN_OR_RETURN(CheckpointRef ref, ParseCheckpointRef(text));
  if (!ref.selector.has_value()) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, reason::kBadField,
        fmt::format("'{0}' names a run, but a checkpoint is wanted here: {0}@latest, {0}@best or "
                    "{0}@STEP",
                    Printable(text)));
  }
  return ref;
}

absl::StatusOr<Resolved> Session::Ask(const std::string& text, bool include_removed) {
  ASSIGN_OR_RETURN(const CheckpointRef ref, ParseRef(text));
  ASSIGN_OR_RETURN(Client * daemon, Daemon());
  return daemon->Resolve(ref.run, *ref.selector, include_removed);
}

absl::StatusOr<Checkpoint> Session::Resolve(const std::string& text, bool include_removed) {
  ASSIGN_OR_RETURN(Resolved resolved, Ask(text, include_removed));
  if (!resolved.explanation.empty()) Note(Printable(resolved.explanation, 1000));
  return std::move(resolved.checkpoint);
}

absl::StatusOr<Checkpoint> Session::ResolveExactly(const std::string& text, bool include_removed) {
  ASSIGN_OR_RETURN(Resolved resolved, Ask(text, include_removed));
  if (!resolved.explanation.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, reason::kBadField,
                     fmt::format("{}: {}; nothing was changed, name the one you mean by its id",
                                 Printable(text), resolved.explanation));
  }
  return std::move(resolved.checkpoint);
}

std::vector<std::string> Session::CompleteRuns(const std::string& text, bool selectors) {
  wait_ = "0";
  std::vector<std::string> words;
  const absl::StatusOr<Client*> daemon = Daemon();
  if (!daemon.ok()) return words;
  const size_t at = text.find('@');
  if (at == std::string::npos) {
    const size_t slash = text.find('/');
    const std::string project = slash == std::string::npos ? "" : text.substr(0, slash);
    const absl::StatusOr<std::vector<ckpt::Run>> runs = (*daemon)->ListRuns(project);
    if (!runs.ok()) return words;
    for (const ckpt::Run& run : *runs) {
      const std::string name = slash == std::string::npos
                                   ? run.name.run
                                   : fmt::format("{}/{}", run.name.project, run.name.run);
      words.push_back(selectors ? name + "@" : name);
    }
    return words;
  }
  if (!selectors) return words;
  const absl::StatusOr<RunName> run = ParseRunName(text.substr(0, at));
  if (!run.ok()) return words;
  const absl::StatusOr<std::vector<Checkpoint>> checkpoints = (*daemon)->ListCheckpoints(*run);
  if (!checkpoints.ok()) return words;
  const std::string prefix = text.substr(0, at + 1);
  words = {prefix + "latest", prefix + "best"};
  for (const Checkpoint& checkpoint : *checkpoints) {
    words.push_back(fmt::format("{}{}", prefix, checkpoint.step));
    for (const std::string& alias : checkpoint.aliases) words.push_back(prefix + alias);
  }
  return words;
}

// ---- The terminal ----------------------------------------------------------------

void Session::Print(std::string_view text) { fwrite(text.data(), 1, text.size(), stdout); }

void Session::Note(std::string_view text) { fmt::print(stderr, "{}\n", text); }

absl::Status Session::Confirm(const std::string& question, const std::string& nothing,
                              const std::string& answer) {
  if (yes_) return absl::OkStatus();
  if (isatty(STDIN_FILENO) == 0) {
    return MakeError(absl::StatusCode::kFailedPrecondition, reason::kBadField,
                     fmt::format("{}: standard input is no terminal to ask on; add --yes if you "
                                 "mean it",
                                 nothing));
  }
  fflush(stdout);
  fmt::print(stderr, "{} {} ", question, answer.empty() ? "[y/N]" : "");
  std::string line;
  std::getline(std::cin, line);
  const bool yes = answer.empty() ? line == "y" || line == "Y" || line == "yes" : line == answer;
  if (yes) return absl::OkStatus();
  return MakeError(absl::StatusCode::kFailedPrecondition, reason::kBadField,
                   fmt::format("{}: not confirmed", nothing));
}

std::string Reference(const Checkpoint& checkpoint) {
  return fmt::format("{}@{}", checkpoint.run.ToString(), checkpoint.step);
}

}  // namespace ckpt::ctl
