#include "client/ckptctl/json.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {

void AddRestore(CLI::App& app, Session& session) {
  auto target = std::make_shared<std::string>();
  CLI::App* verb = session.AddVerb(
      app, "restore", "Brings a removed checkpoint back while its policy's restore grace lasts",
      [target](Session& s) {
        ASSIGN_OR_RETURN(const Checkpoint found,
                         s.ResolveExactly(*target, /*include_removed=*/true));
        if (!found.removed_at) {
          return MakeError(absl::StatusCode::kFailedPrecondition, reason::kNotRestorable,
                           fmt::format("{} was not removed: there is nothing to bring back",
                                       Reference(found)));
        }
        ASSIGN_OR_RETURN(Client * daemon, s.Daemon());
        ASSIGN_OR_RETURN(const Checkpoint checkpoint, daemon->Restore(found.run, found.id));
        if (s.json()) {
          s.PrintJson(ToJson(checkpoint));
        } else {
          s.Print(fmt::format(
              "{} is back, pinned as \"restored\"; unpin it to let the policy decide again.\n",
              Reference(checkpoint)));
        }
        return absl::OkStatus();
      });
  verb->add_option("RUN@SELECTOR", *target, "A removed checkpoint: RUN@STEP or RUN@id:N")
      ->required();
}

}  // namespace ckpt::ctl
