#include "client/ckptctl/json.h"
#include "client/ckptctl/verbs/verbs.h"
#include "client/health.h"

namespace ckpt::ctl {

void AddVersion(CLI::App& app, Session& session) {
  auto client_only = std::make_shared<bool>(false);
  CLI::App* verb = session.AddVerb(
      app, "version", "Shows the versions of ckptctl and of the daemon", [client_only](Session& s) {
        Json json = {{"ckptctl", CKPT_VERSION}};
        std::string text = "ckptctl " CKPT_VERSION "\n";
        absl::Status status;
        if (!*client_only) {
          ASSIGN_OR_RETURN(Client * daemon, s.Daemon());
          const absl::StatusOr<Health> health = CheckHealth(*daemon);
          status = health.status();
          if (health.ok()) {
            json["ckptd"] = health->version;
            text += fmt::format("ckptd {} at {}\n", Printable(health->version),
                                daemon->options().address);
          }
        }
        // Our own version is said even where the daemon cannot be asked.
        if (s.json()) {
          s.PrintJson(json);
        } else {
          s.Print(text);
        }
        return status;
      });
  verb->add_flag("--client", *client_only, "Do not ask the daemon");
}

}  // namespace ckpt::ctl
