#include "client/ckptctl/show.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/ranges.h>

#include "client/ckptctl/table.h"
#include "client/ckptctl/units.h"
#include "proto/names.h"

namespace ckpt::ctl {
namespace {

constexpr size_t kMaxMetricColumns = 4;

// Those that the policy ranks by, then the most frequent.
std::vector<std::string> MetricColumns(std::span<const Checkpoint> checkpoints,
                                       const Policy& policy) {
  std::map<std::string, size_t> seen;
  for (const Checkpoint& checkpoint : checkpoints) {
    for (const auto& [name, value] : checkpoint.metrics) ++seen[name];
    for (const std::string& name : checkpoint.pending_metrics) ++seen[name];
  }
  std::vector<std::string> columns;
  for (const BestRule& rule : policy.keep_best) {
    if (seen.erase(rule.metric) > 0) columns.push_back(rule.metric);
  }
  std::vector<std::pair<size_t, std::string>> others;
  for (const auto& [name, n] : seen) others.emplace_back(n, name);
  std::stable_sort(others.begin(), others.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [n, name] : others) {
    if (columns.size() < kMaxMetricColumns) columns.push_back(name);
  }
  return columns;
}

std::string MetricCell(const Checkpoint& checkpoint, const std::string& name) {
  if (auto found = checkpoint.metrics.find(name); found != checkpoint.metrics.end()) {
    return FormatNumber(found->second);
  }
  return checkpoint.pending_metrics.contains(name) ? "pending" : "-";
}

std::string Why(const Checkpoint& checkpoint) {
  std::string why = ReasonsText(checkpoint.verdict);
  if (!checkpoint.damage.empty()) {
    why = fmt::format("DAMAGED: {}{}{}", checkpoint.damage, why.empty() ? "" : "; ", why);
  }
  if (checkpoint.removed_at) {
    why = "removed: " + why;
    if (checkpoint.restorable_until) why += " (can be restored)";
  }
  return why;
}

}  // namespace

std::string CheckpointTable(std::span<const Checkpoint> checkpoints, const Policy& policy,
                            absl::Time now) {
  std::set<uint32_t> timelines, world_sizes;
  bool named = false;
  for (const Checkpoint& checkpoint : checkpoints) {
    timelines.insert(checkpoint.timeline);
    world_sizes.insert(checkpoint.world_size);
    named = named || !checkpoint.aliases.empty();
  }
  const std::vector<std::string> metrics = MetricColumns(checkpoints, policy);
  const bool show_timeline = timelines.size() > 1;
  const bool show_shards = !world_sizes.empty() && *world_sizes.rbegin() > 1;

  using Align = Table::Align;
  std::vector<Table::Column> columns = {{"STEP", Align::kRight},
                                        {"AGE", Align::kRight},
                                        {"SIZE", Align::kRight},
                                        {"ADDED", Align::kRight}};
  if (show_timeline) columns.push_back({"TIMELINE", Align::kRight});
  if (show_shards) columns.push_back({"SHARDS", Align::kRight});
  for (const std::string& name : metrics) columns.push_back({name, Align::kRight});
  if (named) columns.push_back({"ALIASES"});
  columns.push_back({"WHY"});
  Table table(std::move(columns));
  for (const Checkpoint& c : checkpoints) {
    std::vector<std::string> row = {fmt::format("{}", c.step), FormatAge(now - c.committed_at),
                                    FormatBytes(c.bytes), FormatBytes(c.stored_bytes)};
    if (show_timeline) row.push_back(fmt::format("{}", c.timeline));
    if (show_shards) row.push_back(fmt::format("{}", c.world_size));
    for (const std::string& name : metrics) row.push_back(MetricCell(c, name));
    if (named) row.push_back(fmt::format("{}", fmt::join(c.aliases, ", ")));
    row.push_back(Why(c));
    table.Add(std::move(row));
  }
  return table.ToString();
}

size_t Removed(const PruneResult& result) {
  return static_cast<size_t>(std::count_if(result.checkpoints.begin(), result.checkpoints.end(),
                                           [](const Checkpoint& c) { return !c.verdict.keep; }));
}

std::string PruneText(const PruneResult& result, bool dry_run, absl::Time now) {
  std::vector<Checkpoint> removed, kept;
  for (const Checkpoint& checkpoint : result.checkpoints) {
    (checkpoint.verdict.keep ? kept : removed).push_back(checkpoint);
  }
  const std::string run = result.run.ToString();
  std::string text = fmt::format("{}: policy {}\n", run, ToString(result.policy));
  if (removed.empty()) {
    return text + fmt::format("{}: nothing {}; {} {}.\n", run, dry_run ? "would go" : "was removed",
                              Count(kept.size(), "checkpoint"),
                              kept.size() == 1 ? "stays" : "stay");
  }
  text += fmt::format("\n{}\n{}", dry_run ? "Would be removed:" : "Removed:",
                      CheckpointTable(removed, result.policy, now));
  if (!kept.empty()) {
    text += fmt::format("\nKept:\n{}", CheckpointTable(kept, result.policy, now));
  }
  return text + fmt::format("\n{}: {} {} removed, {} {}; {} {} given back.\n", run,
                            Count(removed.size(), "checkpoint"),
                            dry_run               ? "would be"
                            : removed.size() == 1 ? "was"
                                                  : "were",
                            kept.size(), kept.size() == 1 ? "stays" : "stay",
                            FormatBytes(result.freed_bytes), dry_run ? "would be" : "are");
}

std::string ShapeText(const Entry& entry) {
  if (!entry.is_tensor()) return "-";
  if (entry.shape.empty()) return "scalar";
  std::string text = fmt::format("[{}]", fmt::join(entry.shape, ", "));
  if (!entry.global_shape.empty()) {
    text += fmt::format(" of [{}] at [{}]", fmt::join(entry.global_shape, ", "),
                        fmt::join(entry.global_offset, ", "));
  }
  return text;
}

std::string MetricsText(const Metrics& metrics) {
  std::string text;
  for (const auto& [name, value] : metrics) {
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", name, FormatNumber(value));
  }
  return text;
}

namespace {

// "2 chunks damaged, 1 chunk unreadable"; empty: nothing was found.
std::string FoundText(const Scrub& scrub) {
  std::vector<std::string> found;
  const auto add = [&](uint64_t n, std::string_view noun, std::string_view how) {
    if (n > 0) found.push_back(fmt::format("{} {}", Count(n, noun), how));
  };
  add(scrub.damaged_chunks, "chunk", "damaged");
  add(scrub.damaged_manifests, "manifest", "damaged");
  add(scrub.damaged_packs, "pack header", "damaged");
  add(scrub.unreadable_chunks, "chunk", "unreadable");
  return fmt::format("{}", fmt::join(found, ", "));
}

}  // namespace

std::string ScrubText(const Scrub& scrub) {
  const auto time = [](absl::Time at) { return TimeText(at, absl::LocalTimeZone()); };
  Fields fields;
  if (scrub.under_way) {
    fields.Add("Under way since", time(*scrub.started_at));
  } else if (scrub.started_at) {
    fields.Add("Last pass", fmt::format("{} to {}", time(*scrub.started_at),
                                        time(scrub.ended_at.value_or(*scrub.started_at))));
  }
  if (scrub.under_way && scrub.ended_at) fields.Add("Last pass ended", time(*scrub.ended_at));
  if (!scrub.started_at) fields.Add("Last pass", "none yet");
  fields.Add("Next pass", scrub.under_way   ? "after this one"
                          : scrub.next_at   ? time(*scrub.next_at)
                          : scrub.automatic ? "now"
                                            : "when asked for (ckptctl scrub start)");
  fields.Add("Read", fmt::format("{} of {}: {}, {} in {}", FormatBytes(scrub.bytes),
                                 FormatBytes(scrub.bytes_total),
                                 Count(scrub.manifests, "manifest"), Count(scrub.chunks, "chunk"),
                                 Count(scrub.packs, "pack")));
  const std::string found = FoundText(scrub);
  fields.Add("Found", found.empty() ? "nothing wrong" : found);
  if (scrub.healed_chunks > 0) fields.Add("Right again", Count(scrub.healed_chunks, "chunk"));
  if (scrub.quarantined_chunks > 0) {
    fields.Add("Damaged now", fmt::format("{}, wanted from the next push that has them",
                                          Count(scrub.quarantined_chunks, "chunk")));
  }
  return fields.ToString();
}

std::string ScrubLine(const Scrub& scrub, absl::Time now) {
  if (!scrub.started_at) return "no pass yet";
  const std::string found = FoundText(scrub);
  const std::string when =
      scrub.under_way
          ? fmt::format("{} of {} read", FormatBytes(scrub.bytes), FormatBytes(scrub.bytes_total))
          : fmt::format("ended {} ago", FormatAge(now - scrub.ended_at.value_or(now)));
  return fmt::format("{}, {}", when, found.empty() ? "nothing wrong" : found);
}

}  // namespace ckpt::ctl
