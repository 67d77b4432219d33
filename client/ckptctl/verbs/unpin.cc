#include <fmt/ranges.h>

#include "client/ckptctl/json.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string target;
  std::string name;
};

absl::Status Unpin(Session& session, const Options& options) {
  if (!options.name.empty()) RETURN_IF_ERROR(CheckLabelName("pin", options.name));
  ASSIGN_OR_RETURN(const Checkpoint found, session.ResolveExactly(options.target));
  std::string name = options.name;
  if (name.empty()) {
    if (found.pins.size() > 1) {
      return MakeError(absl::StatusCode::kFailedPrecondition, reason::kBadField,
                       fmt::format("{} has {} pins; say which to take away: {}", Reference(found),
                                   found.pins.size(), fmt::join(found.pins, ", ")));
    }
    if (found.pins.empty()) {
      return MakeError(absl::StatusCode::kNotFound, reason::kPinNotFound,
                       fmt::format("{} has no pin", Reference(found)));
    }
    name = *found.pins.begin();
  }
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, daemon->Unpin(found.run, found.id, name));
  if (session.json()) {
    session.PrintJson(ToJson(checkpoint));
    return absl::OkStatus();
  }
  session.Print(fmt::format("The pin \"{}\" of {} is gone{}.\n", Printable(name),
                            Reference(checkpoint),
                            checkpoint.pins.empty() ? "; the policy decides again" : ""));
  return absl::OkStatus();
}

}  // namespace

void AddUnpin(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = session.AddVerb(app, "unpin", "Takes a pin away",
                                   [options](Session& s) { return Unpin(s, *options); });
  verb->add_option("RUN@SELECTOR", options->target, "The checkpoint")->required();
  verb->add_option("NAME", options->name, "The pin's name; needed if there are several");
}

}  // namespace ckpt::ctl
