#include <absl/time/clock.h>
#include <fmt/ranges.h>

#include "client/ckptctl/json.h"
#include "client/ckptctl/show.h"
#include "client/ckptctl/table.h"
#include "client/ckptctl/units.h"
#include "client/ckptctl/verbs/verbs.h"

namespace ckpt::ctl {
namespace {

struct Options {
  std::string target;
  bool entries = false;
  uint32_t rank = 0;
};

std::string WhenText(absl::Time time) {
  return fmt::format("{} ({} ago)", TimeText(time, absl::LocalTimeZone()),
                     FormatAge(absl::Now() - time));
}

absl::Status DescribeRun(Session& session, const RunName& name) {
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const RunDetails details, daemon->GetRun(name));
  const Run& run = details.run;
  if (session.json()) {
    Json json = ToJson(run);
    json["timelines"] = Json::array();
    for (const Timeline& timeline : details.timelines) {
      json["timelines"].push_back(ToJson(timeline));
    }
    session.PrintJson(json);
    return absl::OkStatus();
  }
  Fields fields;
  fields.Add("Run", run.name.ToString());
  fields.Add("Created", WhenText(run.created_at));
  fields.Add("Newest attempt", fmt::format("{}", run.newest_attempt));
  fields.Add("Checkpoints", fmt::format("{} kept, {} removed", run.checkpoints, run.removed));
  fields.Add("Size", FormatBytes(run.bytes));
  fields.Add("Policy",
             ToString(run.policy) + (run.policy_is_default ? " (the daemon's default)" : ""));
  if (run.latest) {
    fields.Add("Latest",
               fmt::format("step {}, {}", run.latest->step, WhenText(run.latest->committed_at)));
  } else {
    fields.Add("Latest", "none yet");
  }
  fields.Add("Timeline", fmt::format("{}", run.current_timeline));
  session.Print(fields.ToString());
  if (details.timelines.size() > 1) {
    Table table({{"TIMELINE", Table::Align::kRight}, {"OPENED"}, {"WHY"}});
    for (const Timeline& timeline : details.timelines) {
      table.Add({fmt::format("{}", timeline.number),
                 TimeText(timeline.opened_at, absl::LocalTimeZone()), timeline.reason});
    }
    session.Print("\n" + table.ToString());
  }
  return absl::OkStatus();
}

std::string EntryTable(const Manifest& manifest) {
  Table table({{"ENTRY"}, {"DTYPE"}, {"SHAPE"}, {"SIZE", Table::Align::kRight}});
  for (const Entry& entry : manifest.entries) {
    table.Add({entry.name, std::string(DTypeName(entry.dtype)), ShapeText(entry),
               FormatBytes(entry.length)});
  }
  return table.ToString();
}

std::string CheckpointText(const Checkpoint& c) {
  Fields fields;
  fields.Add("Checkpoint", fmt::format("{} (id {})", Reference(c), c.id));
  fields.Add("Committed", WhenText(c.committed_at));
  fields.Add("Attempt", fmt::format("{}", c.attempt));
  fields.Add("Timeline", fmt::format("{}", c.timeline));
  fields.Add("Shards", fmt::format("{}", c.world_size));
  fields.Add("Size", fmt::format("{}, of which it added {} to the disk", FormatBytes(c.bytes),
                                 FormatBytes(c.stored_bytes)));
  if (!c.metrics.empty()) fields.Add("Metrics", MetricsText(c.metrics));
  if (!c.pending_metrics.empty()) {
    fields.Add("Metrics to come", fmt::format("{}", fmt::join(c.pending_metrics, ", ")));
  }
  if (!c.pins.empty()) fields.Add("Pins", fmt::format("{}", fmt::join(c.pins, ", ")));
  if (!c.aliases.empty()) fields.Add("Aliases", fmt::format("{}", fmt::join(c.aliases, ", ")));
  for (const auto& [key, value] : c.labels) {
    fields.Add("Label " + Printable(key), value);
  }
  fields.Add("State", c.damage.empty() ? "whole" : "DAMAGED: " + c.damage);
  if (c.removed_at) {
    fields.Add("Removed", WhenText(*c.removed_at) + ": " + ReasonsText(c.verdict));
    fields.Add("Can be restored",
               c.restorable_until ? "until " + TimeText(*c.restorable_until, absl::LocalTimeZone())
                                  : "no");
  } else {
    fields.Add(c.verdict.keep ? "Kept for" : "Goes next, as", ReasonsText(c.verdict));
  }
  return fields.ToString();
}

absl::Status DescribeCheckpoint(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(const Checkpoint found, session.Resolve(options.target, true));
  ASSIGN_OR_RETURN(Client * daemon, session.Daemon());
  ASSIGN_OR_RETURN(const CheckpointDetails details, daemon->GetCheckpoint(found.id));
  const Checkpoint& checkpoint = details.checkpoint;
  std::optional<Manifest> manifest;
  if (options.entries) {
    ASSIGN_OR_RETURN(manifest, daemon->GetManifest(checkpoint.id, options.rank));
  }
  if (session.json()) {
    Json json = ToJson(checkpoint);
    json["events"] = Json::array();
    for (const Event& event : details.events) json["events"].push_back(ToJson(event));
    if (manifest) {
      json["rank"] = options.rank;
      json["entries"] = Json::array();
      for (const Entry& entry : manifest->entries) json["entries"].push_back(ToJson(entry));
    }
    session.PrintJson(json);
    return absl::OkStatus();
  }
  session.Print(CheckpointText(checkpoint));
  if (!details.events.empty()) {
    Table table({{"TIME"}, {"EVENT"}, {"WHAT HAPPENED"}});
    for (auto event = details.events.rbegin(); event != details.events.rend(); ++event) {
      table.Add(
          {TimeText(event->at, absl::LocalTimeZone()), EventKindName(event->kind), event->text});
    }
    session.Print("\n" + table.ToString());
  }
  if (manifest) {
    session.Print(fmt::format("\nShard of rank {}: {}, {}\n", options.rank,
                              manifest->entries.size() == 1
                                  ? "1 entry"
                                  : fmt::format("{} entries", manifest->entries.size()),
                              Count(manifest->chunks.size(), "chunk")));
    session.Print(EntryTable(*manifest));
  }
  return absl::OkStatus();
}

absl::Status Describe(Session& session, const Options& options) {
  ASSIGN_OR_RETURN(const CheckpointRef ref, ParseCheckpointRef(options.target));
  if (ref.selector) return DescribeCheckpoint(session, options);
  return DescribeRun(session, ref.run);
}

}  // namespace

void AddDescribe(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = session.AddVerb(app, "describe", "Tells everything about a run or a checkpoint",
                                   [options](Session& s) { return Describe(s, *options); });
  verb->add_option("RUN[@SELECTOR]", options->target, "A run, or a checkpoint (removed ones too)")
      ->required();
  verb->add_flag("-e,--entries", options->entries, "What the checkpoint's shard holds");
  verb->add_option("--rank", options->rank, "Which shard (default 0)")->type_name("N");
}

}  // namespace ckpt::ctl
