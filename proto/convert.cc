#include "proto/convert.h"

#include <fmt/format.h>

#include "proto/chunking.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckpt {

// ---- Times -------------------------------------------------------------------

google::protobuf::Timestamp ToProto(absl::Time time) {
  google::protobuf::Timestamp message;
  int64_t seconds = absl::ToUnixSeconds(time);
  message.set_seconds(seconds);
  message.set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return message;
}

absl::Time FromProto(const google::protobuf::Timestamp& message) {
  return absl::FromUnixSeconds(message.seconds()) + absl::Nanoseconds(message.nanos());
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration message;
  int64_t seconds = absl::IDivDuration(duration, absl::Seconds(1), &duration);
  message.set_seconds(seconds);
  message.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
  return message;
}

absl::Duration FromProto(const google::protobuf::Duration& message) {
  return absl::Seconds(message.seconds()) + absl::Nanoseconds(message.nanos());
}

// ---- Shards ------------------------------------------------------------------

v1::Manifest ToProto(const Manifest& manifest) {
  v1::Manifest message;
  message.mutable_entries()->Reserve(static_cast<int>(manifest.entries.size()));
  for (const Entry& entry : manifest.entries) {
    v1::Entry& out = *message.add_entries();
    out.set_name(entry.name);
    out.set_dtype(static_cast<v1::DType>(entry.dtype));
    out.mutable_shape()->Add(entry.shape.begin(), entry.shape.end());
    out.mutable_global_shape()->Add(entry.global_shape.begin(), entry.global_shape.end());
    out.mutable_global_offset()->Add(entry.global_offset.begin(), entry.global_offset.end());
    out.set_offset(entry.offset);
    out.set_length(entry.length);
  }
  message.mutable_chunks()->Reserve(static_cast<int>(manifest.chunks.size()));
  for (const Chunk& chunk : manifest.chunks) {
    v1::Chunk& out = *message.add_chunks();
    out.set_digest(std::string(chunk.digest.View()));
    out.set_length(chunk.length);
  }
  return message;
}

absl::StatusOr<Manifest> FromProto(const v1::Manifest& message) {
  Manifest manifest;
  manifest.entries.reserve(message.entries_size());
  for (const v1::Entry& in : message.entries()) {
    Entry entry;
    entry.name = in.name();
    // An unknown number has no element size, which CheckManifest refuses.
    entry.dtype = in.dtype() >= 0 && in.dtype() < 256 ? static_cast<DType>(in.dtype())
                                                      : static_cast<DType>(255);
    entry.shape.assign(in.shape().begin(), in.shape().end());
    entry.global_shape.assign(in.global_shape().begin(), in.global_shape().end());
    entry.global_offset.assign(in.global_offset().begin(), in.global_offset().end());
    entry.offset = in.offset();
    entry.length = in.length();
    manifest.entries.push_back(std::move(entry));
  }
  manifest.chunks.reserve(message.chunks_size());
  for (const v1::Chunk& in : message.chunks()) {
    std::optional<Digest> digest = Digest::FromBytes(in.digest());
    if (!digest) {
      std::string field = fmt::format("manifest.chunks[{}].digest", manifest.chunks.size());
      return BadField(field, fmt::format("{}: {} bytes, but a BLAKE3-256 digest has {}", field,
                                         in.digest().size(), Digest::kBytes),
                      reason::kBadManifest);
    }
    manifest.chunks.push_back({*digest, in.length()});
  }
  RETURN_IF_ERROR(CheckManifest(manifest));
  return manifest;
}

std::string SerializeNote(const UploadNote& note) {
  v1::OpenUploadRequest message;
  *message.mutable_run() = ToProto(note.run);
  message.set_attempt(note.attempt);
  message.set_step(note.step);
  message.set_rank(note.rank);
  *message.mutable_manifest() = ToProto(*note.manifest);
  for (const auto& [name, value] : note.metrics) {
    v1::Metric& metric = *message.add_metrics();
    metric.set_name(name);
    metric.set_value(value);
  }
  message.mutable_labels()->insert(note.labels.begin(), note.labels.end());
  return message.SerializeAsString();
}

// ---- Selectors and names -------------------------------------------------------

v1::Selector ToProto(const Selector& selector) {
  v1::Selector message;
  struct {
    v1::Selector& message;
    void operator()(const SelectLatest&) { message.set_latest(true); }
    void operator()(const SelectBest& s) { message.set_best(s.metric); }
    void operator()(const SelectStep& s) { message.set_step(s.step); }
    void operator()(const SelectAlias& s) { message.set_alias(s.alias); }
    void operator()(const SelectId& s) { message.set_id(s.id); }
  } visitor{message};
  std::visit(visitor, selector);
  return message;
}

absl::StatusOr<Selector> FromProto(const v1::Selector& message) {
  switch (message.kind_case()) {
    case v1::Selector::KIND_NOT_SET:
    case v1::Selector::kLatest: return SelectLatest{};
    case v1::Selector::kBest:
      if (!message.best().empty()) RETURN_IF_ERROR(CheckLabelName("metric", message.best()));
      return SelectBest{message.best()};
    case v1::Selector::kStep: return SelectStep{message.step()};
    case v1::Selector::kAlias:
      RETURN_IF_ERROR(CheckAlias(message.alias()));
      return SelectAlias{message.alias()};
    case v1::Selector::kId: return SelectId{message.id()};
  }
  return BadField("selector", "the selector is of a kind this daemon does not know");
}

v1::RunRef ToProto(const RunName& run) {
  v1::RunRef message;
  message.set_project(run.project);
  message.set_run(run.run);
  return message;
}

absl::StatusOr<RunName> FromProto(const v1::RunRef& message) {
  RunName name{message.project().empty() ? kDefaultProject : message.project(), message.run()};
  RETURN_IF_ERROR(CheckName("project name", name.project));
  RETURN_IF_ERROR(CheckName("run name", name.run));
  return name;
}

// ---- Checkpoints and runs --------------------------------------------------------

v1::Checkpoint ToProto(const Checkpoint& checkpoint) {
  v1::Checkpoint message;
  message.set_id(checkpoint.id);
  message.set_project(checkpoint.run.project);
  message.set_run(checkpoint.run.run);
  message.set_step(checkpoint.step);
  message.set_world_size(checkpoint.world_size);
  message.set_timeline(checkpoint.timeline);
  message.set_attempt(checkpoint.attempt);
  *message.mutable_committed_at() = ToProto(checkpoint.committed_at);
  message.set_bytes(checkpoint.bytes);
  message.set_stored_bytes(checkpoint.stored_bytes);
  for (const auto& [name, value] : checkpoint.metrics) {
    v1::Metric& metric = *message.add_metrics();
    metric.set_name(name);
    metric.set_value(value);
  }
  for (const auto& name : checkpoint.pending_metrics) message.add_pending_metrics(name);
  for (const auto& name : checkpoint.pins) message.add_pins(name);
  for (const auto& name : checkpoint.aliases) message.add_aliases(name);
  message.set_damage(checkpoint.damage);
  message.mutable_labels()->insert(checkpoint.labels.begin(), checkpoint.labels.end());
  message.mutable_verdict()->set_keep(checkpoint.verdict.keep);
  for (const Reason& reason : checkpoint.verdict.reasons) {
    v1::Reason& out = *message.mutable_verdict()->add_reasons();
    out.set_rule(static_cast<v1::Reason::Rule>(reason.rule));
    out.set_text(reason.text);
  }
  if (checkpoint.removed_at) *message.mutable_removed_at() = ToProto(*checkpoint.removed_at);
  if (checkpoint.restorable_until) {
    *message.mutable_restorable_until() = ToProto(*checkpoint.restorable_until);
  }
  return message;
}

Checkpoint FromProto(const v1::Checkpoint& message) {
  Checkpoint checkpoint;
  checkpoint.id = message.id();
  checkpoint.run = {message.project(), message.run()};
  checkpoint.step = message.step();
  checkpoint.world_size = message.world_size();
  checkpoint.timeline = message.timeline();
  checkpoint.attempt = message.attempt();
  checkpoint.committed_at = FromProto(message.committed_at());
  checkpoint.bytes = message.bytes();
  checkpoint.stored_bytes = message.stored_bytes();
  for (const v1::Metric& metric : message.metrics()) {
    checkpoint.metrics[metric.name()] = metric.value();
  }
  checkpoint.pending_metrics.insert(message.pending_metrics().begin(),
                                    message.pending_metrics().end());
  checkpoint.pins.insert(message.pins().begin(), message.pins().end());
  checkpoint.aliases.insert(message.aliases().begin(), message.aliases().end());
  checkpoint.damage = message.damage();
  checkpoint.labels.insert(message.labels().begin(), message.labels().end());
  checkpoint.verdict.keep = message.verdict().keep();
  for (const v1::Reason& reason : message.verdict().reasons()) {
    checkpoint.verdict.reasons.push_back({static_cast<Reason::Rule>(reason.rule()),
                                          reason.text()});
  }
  if (message.has_removed_at()) checkpoint.removed_at = FromProto(message.removed_at());
  if (message.has_restorable_until()) {
    checkpoint.restorable_until = FromProto(message.restorable_until());
  }
  return checkpoint;
}

v1::Run ToProto(const Run& run) {
  v1::Run message;
  message.set_project(run.name.project);
  message.set_name(run.name.run);
  *message.mutable_created_at() = ToProto(run.created_at);
  message.set_newest_attempt(run.newest_attempt);
  message.set_current_timeline(run.current_timeline);
  *message.mutable_policy() = ToProto(run.policy);
  message.set_policy_is_default(run.policy_is_default);
  message.set_checkpoints(run.checkpoints);
  message.set_removed(run.removed);
  if (run.latest) *message.mutable_latest() = ToProto(*run.latest);
  message.set_bytes(run.bytes);
  return message;
}

Run FromProto(const v1::Run& message) {
  Run run;
  run.name = {message.project(), message.name()};
  run.created_at = FromProto(message.created_at());
  run.newest_attempt = message.newest_attempt();
  run.current_timeline = message.current_timeline();
  // A newer daemon may have rules that we do not know: show what we can.
  if (auto policy = FromProto(message.policy()); policy.ok()) run.policy = *policy;
  run.policy_is_default = message.policy_is_default();
  run.checkpoints = message.checkpoints();
  run.removed = message.removed();
  if (message.has_latest()) run.latest = FromProto(message.latest());
  run.bytes = message.bytes();
  return run;
}

v1::Attempt ToProto(const Attempt& attempt) {
  v1::Attempt message;
  message.set_number(attempt.number);
  message.set_launch_id(attempt.launch_id);
  message.set_world_size(attempt.world_size);
  message.set_timeline(attempt.timeline);
  *message.mutable_opened_at() = ToProto(attempt.opened_at);
  message.set_resumed_from(attempt.resumed_from);
  return message;
}

Attempt FromProto(const v1::Attempt& message) {
  return {message.number(), message.launch_id(), message.world_size(), message.timeline(),
          FromProto(message.opened_at()), message.resumed_from()};
}

v1::Timeline ToProto(const Timeline& timeline) {
  v1::Timeline message;
  message.set_number(timeline.number);
  message.set_forked_from(timeline.forked_from);
  *message.mutable_opened_at() = ToProto(timeline.opened_at);
  message.set_reason(timeline.reason);
  return message;
}

Timeline FromProto(const v1::Timeline& message) {
  return {message.number(), message.forked_from(), FromProto(message.opened_at()),
          message.reason()};
}

v1::Event ToProto(const Event& event) {
  v1::Event message;
  message.set_id(event.id);
  *message.mutable_at() = ToProto(event.at);
  message.set_kind(static_cast<v1::Event::Kind>(event.kind));
  message.set_checkpoint_id(event.checkpoint_id);
  message.set_step(event.step);
  message.set_text(event.text);
  return message;
}

Event FromProto(const v1::Event& message) {
  return {message.id(), FromProto(message.at()), static_cast<Event::Kind>(message.kind()),
          message.checkpoint_id(), message.step(), message.text()};
}

v1::Scrub ToProto(const Scrub& scrub) {
  v1::Scrub message;
  message.set_automatic(scrub.automatic);
  message.set_under_way(scrub.under_way);
  if (scrub.started_at) *message.mutable_started_at() = ToProto(*scrub.started_at);
  if (scrub.ended_at) *message.mutable_ended_at() = ToProto(*scrub.ended_at);
  if (scrub.next_at) *message.mutable_next_at() = ToProto(*scrub.next_at);
  message.set_bytes(scrub.bytes);
  message.set_bytes_total(scrub.bytes_total);
  message.set_chunks(scrub.chunks);
  message.set_manifests(scrub.manifests);
  message.set_packs(scrub.packs);
  message.set_damaged_chunks(scrub.damaged_chunks);
  message.set_damaged_manifests(scrub.damaged_manifests);
  message.set_damaged_packs(scrub.damaged_packs);
  message.set_unreadable_chunks(scrub.unreadable_chunks);
  message.set_healed_chunks(scrub.healed_chunks);
  message.set_quarantined_chunks(scrub.quarantined_chunks);
  return message;
}

Scrub FromProto(const v1::Scrub& message) {
  Scrub scrub;
  scrub.automatic = message.automatic();
  scrub.under_way = message.under_way();
  if (message.has_started_at()) scrub.started_at = FromProto(message.started_at());
  if (message.has_ended_at()) scrub.ended_at = FromProto(message.ended_at());
  if (message.has_next_at()) scrub.next_at = FromProto(message.next_at());
  scrub.bytes = message.bytes();
  scrub.bytes_total = message.bytes_total();
  scrub.chunks = message.chunks();
  scrub.manifests = message.manifests();
  scrub.packs = message.packs();
  scrub.damaged_chunks = message.damaged_chunks();
  scrub.damaged_manifests = message.damaged_manifests();
  scrub.damaged_packs = message.damaged_packs();
  scrub.unreadable_chunks = message.unreadable_chunks();
  scrub.healed_chunks = message.healed_chunks();
  scrub.quarantined_chunks = message.quarantined_chunks();
  return scrub;
}

v1::CatalogBackup ToProto(const CatalogBackup& backup) {
  v1::CatalogBackup message;
  message.set_transaction(backup.transaction);
  *message.mutable_taken_at() = ToProto(backup.taken_at);
  message.set_bytes(backup.bytes);
  message.set_digest(std::string(backup.digest.View()));
  return message;
}

std::optional<CatalogBackup> FromProto(const v1::CatalogBackup& message) {
  const std::optional<Digest> digest = Digest::FromBytes(message.digest());
  if (!digest) return std::nullopt;
  return CatalogBackup{message.transaction(), FromProto(message.taken_at()), message.bytes(),
                       *digest};
}

v1::GetStatsResponse ToProto(const Stats& stats) {
  v1::GetStatsResponse message;
  message.set_runs(stats.runs);
  message.set_checkpoints(stats.checkpoints);
  message.set_logical_bytes(stats.logical_bytes);
  message.set_stored_bytes(stats.stored_bytes);
  message.set_chunks(stats.chunks);
  message.set_disk_bytes(stats.disk_bytes);
  message.set_disk_free_bytes(stats.disk_free_bytes);
  message.set_reclaimable_bytes(stats.reclaimable_bytes);
  message.set_open_uploads(stats.open_uploads);
  message.set_version(stats.version);
  *message.mutable_uptime() = ToProto(stats.uptime);
  message.set_damaged_checkpoints(stats.damaged_checkpoints);
  if (stats.scrub) *message.mutable_scrub() = ToProto(*stats.scrub);
  return message;
}

Stats FromProto(const v1::GetStatsResponse& message) {
  return {message.runs(), message.checkpoints(), message.logical_bytes(), message.stored_bytes(),
          message.chunks(), message.disk_bytes(), message.disk_free_bytes(),
          message.reclaimable_bytes(), message.open_uploads(), message.version(),
          FromProto(message.uptime()), message.damaged_checkpoints(),
          message.has_scrub() ? std::optional(FromProto(message.scrub())) : std::nullopt};
}

}  // namespace ckpt
