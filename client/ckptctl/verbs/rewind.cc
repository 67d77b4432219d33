#include "client/ckptctl/json.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {

void AddRewind(CLI::App& app, Session& session) {
  auto target = std::make_shared<std::string>();
  CLI::App* verb = session.AddVerb(
      app, "rewind", "Makes an older checkpoint the one that the run resumes from next",
      [target](Session& s) {
        ASSIGN_OR_RETURN(const Checkpoint checkpoint, s.ResolveExactly(*target));
        ASSIGN_OR_RETURN(Client * daemon, s.Daemon());
        ASSIGN_OR_RETURN(const Run run, daemon->Rewind(checkpoint.run, checkpoint.id));
        if (s.json()) {
          s.PrintJson(ToJson(run));
        } else {
          s.Print(
              fmt::format("{} resumes from step {} next, on timeline {}; nothing was removed.\n",
                          run.name.ToString(), checkpoint.step, run.current_timeline));
        }
        return absl::OkStatus();
      });
  verb->add_option("RUN@SELECTOR", *target, "The checkpoint to go back to")->required();
}

}  // namespace ckpt::ctl
