#include "client/ckptctl/json.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string target;
  std::string name = "manual";
};

absl::Status Pin(Session& session, const Options& options) {
  RETURN_IF_ERROR(CheckLabelName("pin", options.name));
  ASSIGN_OR_RETURN(const Checkpoint found, session.ResolveExactly(options.target));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, daemon->Pin(found.run, found.id, options.name));
  if (session.json()) {
    session.PrintJson(ToJson(checkpoint));
  } else {
    session.Print(fmt::format("{} is pinned as \"{}\": no rule removes it.\n",
                              Reference(checkpoint), options.name));
  }
  return absl::OkStatus();
}

}  // namespace

void AddPin(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = session.AddVerb(app, "pin", "Keeps a checkpoint whatever the policy says",
                                   [options](Session& s) { return Pin(s, *options); });
  verb->add_option("RUN@SELECTOR", options->target, "The checkpoint")->required();
  verb->add_option("NAME", options->name, "The pin's name: why it is kept")->capture_default_str();
}

}  // namespace ckpt::ctl
