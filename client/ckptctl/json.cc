#include "client/ckptctl/json.h"

#include <cmath>

#include "client/ckptctl/units.h"

namespace ckpt::ctl {
namespace {

Json Seconds(absl::Duration duration) { return absl::ToDoubleSeconds(duration); }

template <typename T>
void SetIf(Json& json, const char* key, const std::optional<T>& value) {
  if (value.has_value()) json[key] = *value;
}

std::string_view RuleName(Reason::Rule rule) {
  switch (rule) {
    case Reason::Rule::kUnspecified:
      return "unspecified";
    case Reason::Rule::kNewest:
      return "newest";
    case Reason::Rule::kLast:
      return "last";
    case Reason::Rule::kBest:
      return "best";
    case Reason::Rule::kEverySteps:
      return "every_steps";
    case Reason::Rule::kWithin:
      return "within";
    case Reason::Rule::kHourly:
      return "hourly";
    case Reason::Rule::kDaily:
      return "daily";
    case Reason::Rule::kWeekly:
      return "weekly";
    case Reason::Rule::kMonthly:
      return "monthly";
    case Reason::Rule::kYearly:
      return "yearly";
    case Reason::Rule::kBytes:
      return "bytes";
    case Reason::Rule::kPinned:
      return "pinned";
    case Reason::Rule::kAliased:
      return "aliased";
    case Reason::Rule::kReferenced:
      return "referenced";
    case Reason::Rule::kLeased:
      return "leased";
    case Reason::Rule::kAwaitingMetric:
      return "awaiting_metric";
    case Reason::Rule::kNoRules:
      return "no_rules";
    case Reason::Rule::kClock:
      return "clock";
    case Reason::Rule::kDeleted:
      return "deleted";
    case Reason::Rule::kDamaged:
      return "damaged";
    case Reason::Rule::kSuperseded:
      return "superseded";
    case Reason::Rule::kBudget:
      return "budget";
  }
  return "unspecified";
}

}  // namespace

Json NumberToJson(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

std::string EventKindName(Event::Kind kind) {
  switch (kind) {
    case Event::Kind::kUnspecified:
      break;
    case Event::Kind::kCommitted:
      return "committed";
    case Event::Kind::kRemoved:
      return "removed";
    case Event::Kind::kRestored:
      return "restored";
    case Event::Kind::kReclaimed:
      return "reclaimed";
    case Event::Kind::kDamaged:
      return "damaged";
    case Event::Kind::kHealed:
      return "healed";
    case Event::Kind::kAttempt:
      return "attempt";
    case Event::Kind::kTimeline:
      return "timeline";
    case Event::Kind::kPolicy:
      return "policy";
    case Event::Kind::kPinned:
      return "pinned";
    case Event::Kind::kUnpinned:
      return "unpinned";
    case Event::Kind::kAliased:
      return "aliased";
    case Event::Kind::kUploadDropped:
      return "upload_dropped";
    case Event::Kind::kResumed:
      return "resumed";
    case Event::Kind::kLoaded:
      return "loaded";
    case Event::Kind::kLoadFailed:
      return "load_failed";
    case Event::Kind::kMetric:
      return "metric";
    case Event::Kind::kRunDeleted:
      return "run_deleted";
    case Event::Kind::kUnaliased:
      return "unaliased";
  }
  return "unspecified";
}

Json ToJson(const Checkpoint& c) {
  Json metrics = Json::object();
  for (const auto& [name, value] : c.metrics) metrics[name] = NumberToJson(value);
  Json reasons = Json::array();
  for (const Reason& reason : c.verdict.reasons) {
    reasons.push_back({{"rule", RuleName(reason.rule)}, {"text", reason.text}});
  }
  Json json = {{"id", c.id},
               {"project", c.run.project},
               {"run", c.run.run},
               {"step", c.step},
               {"timeline", c.timeline},
               {"attempt", c.attempt},
               {"world_size", c.world_size},
               {"committed_at", FormatTimeUtc(c.committed_at)},
               {"bytes", c.bytes},
               {"stored_bytes", c.stored_bytes},
               {"metrics", metrics},
               {"pending_metrics", c.pending_metrics},
               {"pins", c.pins},
               {"aliases", c.aliases},
               {"labels", c.labels},
               {"damage", c.damage},
               {"keep", c.verdict.keep},
               {"reasons", reasons}};
  if (c.removed_at) json["removed_at"] = FormatTimeUtc(*c.removed_at);
  if (c.restorable_until) json["restorable_until"] = FormatTimeUtc(*c.restorable_until);
  return json;
}

Json ToJson(const Run& run) {
  Json json = {{"project", run.name.project},
               {"run", run.name.run},
               {"created_at", FormatTimeUtc(run.created_at)},
               {"newest_attempt", run.newest_attempt},
               {"current_timeline", run.current_timeline},
               {"checkpoints", run.checkpoints},
               {"removed", run.removed},
               {"bytes", run.bytes},
               {"policy_is_default", run.policy_is_default},
               {"policy", ToJson(run.policy)}};
  json["latest"] = run.latest ? ToJson(*run.latest) : Json();
  return json;
}

Json ToJson(const Policy& p) {
  Json json = Json::object();
  SetIf(json, "keep_last", p.keep_last);
  Json best = Json::array();
  for (const BestRule& rule : p.keep_best) {
    best.push_back({{"metric", rule.metric},
                    {"mode", rule.mode == MetricMode::kMax ? "max" : "min"},
                    {"count", rule.count}});
  }
  if (!best.empty()) json["keep_best"] = best;
  SetIf(json, "keep_every_steps", p.keep_every_steps);
  if (p.keep_within) json["keep_within_seconds"] = Seconds(*p.keep_within);
  SetIf(json, "keep_hourly", p.keep_hourly);
  SetIf(json, "keep_daily", p.keep_daily);
  SetIf(json, "keep_weekly", p.keep_weekly);
  SetIf(json, "keep_monthly", p.keep_monthly);
  SetIf(json, "keep_yearly", p.keep_yearly);
  SetIf(json, "keep_bytes", p.keep_bytes);
  json["metric_grace_seconds"] = Seconds(p.metric_grace);
  json["restore_grace_seconds"] = Seconds(p.restore_grace);
  json["upload_deadline_seconds"] = Seconds(p.upload_deadline);
  json["max_failed_resumes"] = p.max_failed_resumes;
  json["version"] = p.version;
  return json;
}

Json ToJson(const Budget& budget) {
  Json json = {{"project", budget.project}};
  json["budget_bytes"] = budget.bytes == 0 ? Json() : Json(budget.bytes);
  json["is_default"] = budget.is_default;
  json["stored_bytes"] = budget.stored_bytes;
  return json;
}

Json ToJson(const Quota& quota) {
  const auto limit = [](const Quota::Limit& l) -> Json {
    return {{"limit", l.limit == 0 ? Json() : Json(l.limit)},
            {"is_default", l.is_default},
            {"used", l.used}};
  };
  return {{"project", quota.project},
          {"bytes", limit(quota.bytes)},
          {"checkpoints", limit(quota.checkpoints)},
          {"uploads", limit(quota.uploads)}};
}

Json ToJson(const Token& token) {
  const auto time = [](const std::optional<absl::Time>& at) {
    return at ? Json(FormatTimeUtc(*at)) : Json();
  };
  return {{"id", token.id},
          {"name", token.name},
          {"project", token.project.empty() ? Json() : Json(token.project)},
          {"role", RoleName(token.role)},
          {"created_at", FormatTimeUtc(token.created_at)},
          {"expires_at", time(token.expires_at)},
          {"last_used_at", time(token.last_used_at)},
          {"revoked_at", time(token.revoked_at)},
          {"created_by", token.created_by}};
}

Json ToJson(const Event& event) {
  return {{"id", event.id},
          {"at", FormatTimeUtc(event.at)},
          {"kind", EventKindName(event.kind)},
          {"checkpoint_id", event.checkpoint_id},
          {"step", event.step},
          {"text", event.text}};
}

Json ToJson(const Timeline& timeline) {
  return {{"number", timeline.number},
          {"forked_from", timeline.forked_from},
          {"opened_at", FormatTimeUtc(timeline.opened_at)},
          {"reason", timeline.reason}};
}

Json ToJson(const Scrub& scrub) {
  const auto time = [](const std::optional<absl::Time>& at) {
    return at ? Json(FormatTimeUtc(*at)) : Json();
  };
  return {{"automatic", scrub.automatic},
          {"under_way", scrub.under_way},
          {"started_at", time(scrub.started_at)},
          {"ended_at", time(scrub.ended_at)},
          {"next_at", time(scrub.next_at)},
          {"bytes", scrub.bytes},
          {"bytes_total", scrub.bytes_total},
          {"chunks", scrub.chunks},
          {"manifests", scrub.manifests},
          {"packs", scrub.packs},
          {"damaged_chunks", scrub.damaged_chunks},
          {"damaged_manifests", scrub.damaged_manifests},
          {"damaged_packs", scrub.damaged_packs},
          {"unreadable_chunks", scrub.unreadable_chunks},
          {"healed_chunks", scrub.healed_chunks},
          {"quarantined_chunks", scrub.quarantined_chunks}};
}

Json ToJson(const CatalogBackup& backup) {
  return {{"transaction", backup.transaction},
          {"taken_at", FormatTimeUtc(backup.taken_at)},
          {"bytes", backup.bytes},
          {"digest", backup.digest.Hex()}};
}

Json ToJson(const Stats& stats) {
  Json json = {{"runs", stats.runs},
          {"checkpoints", stats.checkpoints},
          {"logical_bytes", stats.logical_bytes},
          {"stored_bytes", stats.stored_bytes},
          {"chunks", stats.chunks},
          {"disk_bytes", stats.disk_bytes},
          {"disk_free_bytes", stats.disk_free_bytes},
          {"reclaimable_bytes", stats.reclaimable_bytes},
          {"open_uploads", stats.open_uploads},
          {"damaged_checkpoints", stats.damaged_checkpoints},
          {"version", stats.version},
          {"uptime_seconds", Seconds(stats.uptime)}};
  if (stats.scrub) json["scrub"] = ToJson(*stats.scrub);
  return json;
}

Json ToJson(const PruneResult& result, bool dry_run) {
  Json keep = Json::array(), remove = Json::array();
  for (const Checkpoint& checkpoint : result.checkpoints) {
    (checkpoint.verdict.keep ? keep : remove).push_back(ToJson(checkpoint));
  }
  return {{"project", result.run.project},
          {"run", result.run.run},
          {"dry_run", dry_run},
          {"policy", ToJson(result.policy)},
          {"freed_bytes", result.freed_bytes},
          {"removed", remove},
          {"kept", keep}};
}

Json ToJson(const Damage& damage) {
  return {{"project", damage.run.project},
          {"run", damage.run.run},
          {"checkpoint_id", damage.checkpoint_id},
          {"step", damage.step},
          {"rank", damage.rank},
          {"entry", damage.entry},
          {"text", damage.text}};
}

Json ToJson(const Entry& entry) {
  Json json = {{"name", entry.name},
               {"dtype", DTypeName(entry.dtype)},
               {"shape", entry.shape},
               {"bytes", entry.length}};
  if (!entry.global_shape.empty()) {
    json["global_shape"] = entry.global_shape;
    json["global_offset"] = entry.global_offset;
  }
  return json;
}

}  // namespace ckpt::ctl
