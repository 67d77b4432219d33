#include "daemon/monitor/families.h"

#include <array>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace ckptd {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Label = ClientMetric::Label;
using Labels = std::vector<Label>;

struct CounterRow {
  const char* name;
  const char* help;
  Counter Metrics::*counter;
};
constexpr CounterRow kCounters[] = {
    {"ckptd_received_bytes_total", "Bytes of chunks that arrived, refused ones too.",
     &Metrics::received_bytes},
    {"ckptd_received_chunks_total", "Chunks that arrived, refused ones too.",
     &Metrics::received_chunks},
    {"ckptd_pushes_total", "Shards that were pushed and made durable.", &Metrics::pushes},
    {"ckptd_pushed_bytes_total", "Bytes of the shards that were made durable.",
     &Metrics::pushed_bytes},
    {"ckptd_shared_bytes_total",
     "Of ckptd_pushed_bytes_total, bytes that were not sent because an equal chunk was there.",
     &Metrics::shared_bytes},
    {"ckptd_stored_bytes_total",
     "Bytes on disk, with headers and padding, that the durable shards took.",
     &Metrics::stored_bytes},
    {"ckptd_checkpoints_committed_total", "Checkpoints of which the last shard became durable.",
     &Metrics::checkpoints_committed},
    {"ckptd_fetches_total", "Fetches that were sent all that they asked for.", &Metrics::fetches},
    {"ckptd_sent_bytes_total", "Bytes of chunks that were sent.", &Metrics::sent_bytes},
    {"ckptd_sent_chunks_total", "Chunks that were sent.", &Metrics::sent_chunks},
    {"ckptd_checkpoints_removed_total", "Checkpoints removed by rules, the budget, time or a user.",
     &Metrics::checkpoints_removed},
    {"ckptd_reclaimed_bytes_total", "Bytes of chunks given back to the file system.",
     &Metrics::reclaimed_bytes},
    {"ckptd_packed_chunks_total", "Chunks of history laid on disk in fewer bytes.",
     &Metrics::packed_chunks},
    {"ckptd_packed_before_bytes_total", "Bytes on disk of ckptd_packed_chunks_total before.",
     &Metrics::packed_bytes_before},
    {"ckptd_packed_after_bytes_total", "Bytes on disk of ckptd_packed_chunks_total afterwards.",
     &Metrics::packed_bytes_after},
    {"ckptd_damaged_chunks_total", "Chunks that were read and found damaged.",
     &Metrics::damaged_chunks},
    {"ckptd_damaged_checkpoints_total", "Checkpoints that were flagged as damaged.",
     &Metrics::damaged_checkpoints},
};

// By ckpt::Reason::Rule; the first is never given as a reason.
constexpr std::array<const char*, Metrics::kRules> kRuleNames = {
    "unspecified", "newest",  "last",       "best",       "every_steps",     "within",
    "hourly",      "daily",   "weekly",     "monthly",    "yearly",          "bytes",
    "pinned",      "aliased", "referenced", "leased",     "awaiting_metric", "no_rules",
    "clock",       "deleted", "damaged",    "superseded", "budget"};

class Writer {
 public:
  // Begins a family; the values that follow are its own.
  void Begin(const char* name, const char* help, MetricType type) {
    families_.push_back({.name = name, .help = help, .type = type, .metric = {}});
  }
  void Value(double value, Labels labels = {}) {
    ClientMetric& metric = Add(std::move(labels));
    (families_.back().type == MetricType::Counter ? metric.counter.value : metric.gauge.value) =
        value;
  }
  void Value(const Histogram& histogram, Labels labels = {}) {
    const Histogram::Snapshot snapshot = histogram.Get();
    ClientMetric::Histogram& out = Add(std::move(labels)).histogram;
    out.sample_count = snapshot.count;
    out.sample_sum = snapshot.seconds;
    for (const Histogram::Bucket& bucket : snapshot.buckets) {
      out.bucket.push_back({.cumulative_count = bucket.count, .upper_bound = bucket.upper_bound});
    }
  }
  void Gauge(const char* name, const char* help, double value, Labels labels = {}) {
    Begin(name, help, MetricType::Gauge);
    Value(value, std::move(labels));
  }

  std::string Text() const { return prometheus::TextSerializer().Serialize(families_); }

 private:
  ClientMetric& Add(Labels labels) {
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = std::move(labels);
    return metric;
  }

  std::vector<MetricFamily> families_;
};

double Of(const Counter& counter) { return static_cast<double>(counter.value()); }

void AddKeeping(const Metrics& metrics, Writer& out) {
  out.Begin("ckptd_retention_decisions_total",
            "Verdicts on checkpoints, at each judgement, by rule; each once under every rule that "
            "was a reason (superseded: no rule keeps it).",
            MetricType::Counter);
  for (size_t rule = 1; rule < Metrics::kRules; ++rule) {
    out.Value(Of(metrics.kept_by[rule]), {{"decision", "kept"}, {"rule", kRuleNames[rule]}});
    out.Value(Of(metrics.removed_by[rule]), {{"decision", "removed"}, {"rule", kRuleNames[rule]}});
  }
}

void AddTimes(const Metrics& metrics, Writer& out) {
  out.Begin("ckptd_commit_seconds",
            "From the request to commit a shard until it is durable and in the catalog.",
            MetricType::Histogram);
  out.Value(metrics.commit_seconds);
  out.Begin("ckptd_catalog_commit_seconds", "The catalog's part of ckptd_commit_seconds.",
            MetricType::Histogram);
  out.Value(metrics.catalog_commit_seconds);
  out.Begin("ckptd_sync_seconds",
            "Time that the disk took to make packs durable: fdatasync of data, fsync of names.",
            MetricType::Histogram);
  out.Value(metrics.disk.data_sync_seconds, {{"what", "data"}});
  out.Value(metrics.disk.name_sync_seconds, {{"what", "names"}});
  out.Begin("ckptd_disk_errors_total", "Writes and syncs of packs that failed.",
            MetricType::Counter);
  out.Value(Of(metrics.disk.errors));
}

void AddCalls(const Metrics& metrics, Writer& out) {
  out.Begin("ckptd_calls_total", "Calls answered, by method and gRPC code.", MetricType::Counter);
  for (const auto& [name, method] : metrics.calls) {
    for (size_t code = 0; code < MethodMetrics::kCodes; ++code) {
      // OK always, so that a rate begins with the first call.
      const double calls = Of(method.by_code[code]);
      if (code != 0 && calls == 0) continue;
      const auto text = absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
      out.Value(calls, {{"method", name}, {"code", text}});
    }
  }
  out.Begin("ckptd_calls_running", "Calls under way.", MetricType::Gauge);
  for (const auto& [name, method] : metrics.calls) {
    out.Value(static_cast<double>(method.running.load()), {{"method", name}});
  }
  out.Begin("ckptd_call_seconds", "How long calls took, streams to their end.",
            MetricType::Histogram);
  for (const auto& [name, method] : metrics.calls) out.Value(method.seconds, {{"method", name}});
}

void AddGauges(const Gauges& gauges, Writer& out) {
  out.Gauge("ckptd_build_info", "Always 1; the version is a label.", 1,
            {{"version", gauges.version}});
  out.Gauge("ckptd_uptime_seconds", "Since the store was opened.",
            absl::ToDoubleSeconds(gauges.uptime));
  out.Gauge("ckptd_live", "1 while no thread is stuck (/healthz).", gauges.health.live);
  out.Gauge("ckptd_ready", "1 while checkpoints are taken (/readyz).", gauges.health.ready);
  out.Gauge("ckptd_draining", "1 from SIGTERM to the end.", gauges.health.draining);

  const auto number = [](uint64_t value) { return static_cast<double>(value); };
  out.Gauge("ckptd_uploads_open", "Uploads of shards that are not finished.",
            number(gauges.load.open_uploads));
  out.Gauge("ckptd_uploads_active", "Of ckptd_uploads_open, those that a client works on.",
            number(gauges.load.active_uploads));
  out.Gauge("ckptd_uploads_missing_bytes", "Bytes that open uploads have yet to receive.",
            number(gauges.load.missing_bytes));
  out.Gauge("ckptd_disk_keep_free_bytes", "Uploads that would leave less free are refused.",
            number(gauges.keep_free_bytes));
  if (gauges.stats) {
    const ckpt::Stats& stats = *gauges.stats;
    out.Gauge("ckptd_disk_free_bytes", "Free on the disk that the packs are on.",
              number(stats.disk_free_bytes));
    out.Gauge("ckptd_disk_used_bytes", "Taken by packs on the disk.", number(stats.disk_bytes));
    out.Gauge("ckptd_runs", "Runs that are not deleted.", number(stats.runs));
    out.Gauge("ckptd_checkpoints", "Checkpoints that are kept.", number(stats.checkpoints));
    out.Gauge("ckptd_checkpoints_bytes", "Bytes of the checkpoints that are kept, shared ones too.",
              number(stats.logical_bytes));
    out.Gauge("ckptd_chunks", "Chunks that are kept.", number(stats.chunks));
    out.Gauge("ckptd_chunks_bytes", "Bytes on disk of the chunks that are kept.",
              number(stats.stored_bytes));
    out.Gauge("ckptd_reclaimable_bytes", "Bytes on disk waiting to be given back.",
              number(stats.reclaimable_bytes));
  }
  if (gauges.catalog_bytes) {
    out.Gauge("ckptd_catalog_bytes", "Taken by the catalog on the disk.",
              number(*gauges.catalog_bytes));
  }
}

}  // namespace

std::string ToText(const Metrics& metrics, const Gauges& gauges) {
  Writer out;
  for (const CounterRow& row : kCounters) {
    out.Begin(row.name, row.help, MetricType::Counter);
    out.Value(Of(metrics.*row.counter));
  }
  AddKeeping(metrics, out);
  AddTimes(metrics, out);
  AddCalls(metrics, out);
  AddGauges(gauges, out);
  return out.Text();
}

}  // namespace ckptd
