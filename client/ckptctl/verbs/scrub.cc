#include <algorithm>

#include "client/ckptctl/json.h"
#include "client/ckptctl/progress.h"
#include "client/ckptctl/show.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

// How often it is asked whether the pass has ended.
constexpr absl::Duration kPoll = absl::Milliseconds(200);

void Show(Session& session, const Scrub& scrub) {
  if (session.json()) {
    session.PrintJson(ToJson(scrub));
  } else {
    session.Print(ScrubText(scrub));
  }
}

absl::Status Status(Session& session) {
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const Scrub scrub, daemon->GetScrub());
  Show(session, scrub);
  return absl::OkStatus();
}

absl::Status Start(Session& session, bool follow) {
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(Scrub scrub, daemon->StartScrub());
  if (!follow) {
    Show(session, scrub);
    return absl::OkStatus();
  }
  {
    const Session::Transfer interruptible;
    ProgressBar bar("scrub");
    while (scrub.under_way) {
      bar.Update(std::min(scrub.bytes, scrub.bytes_total), scrub.bytes_total);
      if (session.cancel().WaitFor(kPoll)) {
        return absl::CancelledError("not waited for; the daemon goes on with the pass");
      }
      ASSIGN_OR_RETURN(scrub, daemon->GetScrub());
    }
  }
  Show(session, scrub);
  if (scrub.damaged_chunks + scrub.damaged_manifests + scrub.damaged_packs +
          scrub.unreadable_chunks ==
      0) {
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kDataLoss, reason::kChunkDamaged,
                   "damage was found; `ckptctl list` of a run says which checkpoints need what is "
                   "damaged, and no resume takes them");
}

}  // namespace

void AddScrub(CLI::App& app, Session& session) {
  auto follow = std::make_shared<bool>(false);
  CLI::App* scrub = app.add_subcommand(
      "scrub", "Shows and starts the reading of all that is stored, to find what is damaged");
  scrub->require_subcommand(1);
  session.AddVerb(*scrub, "status", "Shows what the scrub is doing and has found", Status);
  CLI::App* start =
      session.AddVerb(*scrub, "start", "Begins a pass now, or has the one under way go on",
                      [follow](Session& s) { return Start(s, *follow); });
  start->add_flag("--follow", *follow,
                  "Wait until it has ended; exit code 5 when damage was found");
}

}  // namespace ckpt::ctl
