#include "client/ckptctl/exit_codes.h"
#include "client/ckptctl/json.h"
#include "client/ckptctl/progress.h"
#include "client/ckptctl/table.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

absl::Status Verify(Session& session, const std::string& target) {
  ASSIGN_OR_RETURN(const CheckpointRef ref, ParseCheckpointRef(target));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  uint64_t id = 0;
  if (ref.selector) {
    ASSIGN_OR_RETURN(const Checkpoint checkpoint, session.Resolve(target));
    id = checkpoint.id;
  }
  ProgressBar bar("verify " + Printable(target, 40));
  ASSIGN_OR_RETURN(const VerifyResult result,
                   daemon->Verify(ref.run, id, [&](const VerifyProgress& progress) {
                     bar.Update(progress.bytes_done, progress.bytes_total);
                   }));
  bar.Clear();
  if (session.json()) {
    Json damages = Json::array();
    for (const Damage& damage : result.damages) damages.push_back(ToJson(damage));
    session.PrintJson(Json{{"bytes", result.bytes},
                           {"chunks", result.chunks},
                           {"whole", result.damages.empty()},
                           {"damages", std::move(damages)}});
  } else if (result.damages.empty()) {
    session.Print(fmt::format("Whole: {} in {} read, every digest right.\n",
                              FormatBytes(result.bytes), Count(result.chunks, "chunk")));
  } else {
    Table table(
        {{"STEP", Table::Align::kRight}, {"RANK", Table::Align::kRight}, {"ENTRY"}, {"DAMAGE"}});
    for (const Damage& damage : result.damages) {
      table.Add({fmt::format("{}", damage.step), fmt::format("{}", damage.rank), damage.entry,
                 damage.text});
    }
    session.Print(table.ToString());
  }
  if (result.damages.empty()) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kDataLoss, reason::kChunkDamaged,
      fmt::format("{} found in {}; what is damaged is marked so and no resume takes it",
                  Count(result.damages.size(), "damage"), Printable(target)));
}

}  // namespace

void AddVerify(CLI::App& app, Session& session) {
  auto target = std::make_shared<std::string>();
  CLI::App* verb = session.AddVerb(app, "verify", "Reads stored bytes and compares every digest",
                                   [target](Session& s) { return Verify(s, *target); });
  verb->add_option("RUN[@SELECTOR]", *target, "A checkpoint, or all of a run")->required();
}

}  // namespace ckpt::ctl
