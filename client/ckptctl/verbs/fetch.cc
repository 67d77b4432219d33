#include "client/ckptctl/files/target.h"
#include "client/ckptctl/json.h"
#include "client/ckptctl/progress.h"
#include "client/ckptctl/stream.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"
#include "client/download.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string checkpoint;
  std::string output;
  std::optional<uint32_t> rank;
  std::vector<std::string> entries;
  bool force = false;
};

absl::Status CheckRank(const Checkpoint& checkpoint, const std::optional<uint32_t>& rank) {
  if (!rank && checkpoint.world_size > 1) {
    return BadField("--rank", fmt::format("{} has {} shards; say which with --rank N",
                                          Reference(checkpoint), checkpoint.world_size));
  }
  if (rank.value_or(0) >= checkpoint.world_size) {
    return MakeError(absl::StatusCode::kNotFound, reason::kRankNotFound,
                     fmt::format("{} has no rank {}; its ranks are 0 to {}", Reference(checkpoint),
                                 *rank, checkpoint.world_size - 1));
  }
  return absl::OkStatus();
}

absl::Status Run(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, session.Resolve(options.checkpoint));
  RETURN_IF_ERROR(CheckRank(checkpoint, options.rank));
  const uint32_t rank = options.rank.value_or(0);
  ASSIGN_OR_RETURN(Client * daemon, session.Transfers());
  ASSIGN_OR_RETURN(const Manifest manifest, daemon->GetManifest(checkpoint.id, rank));

  ShardView shard{&checkpoint, rank, &manifest, AllEntries(manifest), {}};
  if (!options.entries.empty()) {
    ASSIGN_OR_RETURN(shard.entries, MatchEntries(manifest, options.entries));
  }
  const TargetKind kind = TargetKindOf(options.output);
  const std::vector<std::string> names = ValuesNeeded(kind, manifest, shard.entries);
  const Session::Transfer transfer;
  if (!names.empty()) {
    ASSIGN_OR_RETURN(const std::vector<std::string> values,
                     FetchEntries(*daemon, checkpoint.id, rank, manifest, names));
    for (size_t i = 0; i < names.size(); ++i) shard.values.emplace(names[i], values[i]);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Target> target,
                   Target::Create(kind, options.output, shard, options.force));
  ProgressBar bar("fetch " + Reference(checkpoint));
  RETURN_IF_ERROR(StreamEntries(
      *daemon, checkpoint.id, rank, manifest, target->streamed(),
      [&](size_t index, uint64_t offset, std::span<const std::byte> bytes) {
        return target->Write(index, offset, bytes);
      },
      bar.Fn(), &session.cancel()));
  RETURN_IF_ERROR(target->Finish());
  bar.Clear();

  uint64_t bytes = 0;
  for (size_t i : shard.entries) bytes += manifest.entries[i].length;
  for (const std::string& note : target->notes()) session.Note(note);
  if (session.json()) {
    session.PrintJson(Json{{"checkpoint", ToJson(checkpoint)},
                           {"rank", rank},
                           {"output", options.output},
                           {"entries", shard.entries.size()},
                           {"bytes", bytes},
                           {"notes", target->notes()}});
    return absl::OkStatus();
  }
  const double seconds = std::max(absl::ToDoubleSeconds(bar.elapsed()), 1e-3);
  session.Print(
      fmt::format("Fetched {} to {}: {} entries, {} at {}/s.\n", Reference(checkpoint),
                  Printable(options.output, 400), shard.entries.size(), FormatBytes(bytes),
                  FormatBytes(static_cast<uint64_t>(static_cast<double>(bytes) / seconds))));
  return absl::OkStatus();
}

}  // namespace

void AddFetch(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = session.AddVerb(
      app, "fetch", "Writes a checkpoint to a directory, a .safetensors or a .pt file",
      [options](Session& s) { return Run(s, *options); }, /*short_output_flag=*/false);
  verb->add_option("RUN@SELECTOR", options->checkpoint, "The checkpoint")->required();
  verb->add_option("-o,--output", options->output,
                   "FILE.safetensors; FILE.pt (also .pth, .ckpt) for Python's torch.load; else a "
                   "directory with a file an entry. It appears whole or not at all")
      ->type_name("PATH")
      ->required();
  verb->add_option("--rank", options->rank, "Which shard, if there are several")->type_name("N");
  verb->add_option("--entries", options->entries,
                   "Only entries whose name matches, such as 'model/*'; can be repeated")
      ->type_name("GLOB")
      ->take_all();
  verb->add_flag("-f,--force", options->force, "Replace what is there");
}

}  // namespace ckpt::ctl
