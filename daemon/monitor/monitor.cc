#include "daemon/monitor/monitor.h"

#include <absl/strings/str_join.h>
#include <fmt/format.h>

#include "daemon/monitor/families.h"
#include "proto/loopback.h"

namespace ckptd {
namespace {

HttpServer::Response Answer(bool good, const std::vector<std::string>& problems) {
  if (good) return {.body = "ok\n"};
  return {.status = 503, .body = absl::StrJoin(problems, "\n") + "\n"};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Monitor>> Monitor::Start(Options options, Store* store,
                                                        const os::Pulse* main) {
  if (!ckpt::IsLoopback(options.listen) && !options.allow_remote) {
    return ckpt::BadField("metrics-listen",
                          fmt::format("metrics on {} can be read from other machines: listen on "
                                      "127.0.0.1, or pass --allow-remote on a network you trust",
                                      options.listen));
  }
  std::unique_ptr<Monitor> monitor(new Monitor(std::move(options), store, main));
  const Monitor* self = monitor.get();
  ASSIGN_OR_RETURN(monitor->server_,
                   HttpServer::Start(monitor->options_.listen,
                                     {{"/metrics", [self] { return self->Metrics(); }},
                                      {"/healthz", [self] { return self->Healthz(); }},
                                      {"/readyz", [self] { return self->Readyz(); }}}));
  return monitor;
}

HttpServer::Response Monitor::Metrics() const {
  Gauges gauges;
  gauges.version = options_.version;
  gauges.uptime = since_.Elapsed();
  gauges.keep_free_bytes = options_.keep_free_bytes;
  gauges.health = store_->GetHealth();
  gauges.load = store_->GetLoad();
  if (auto stats = store_->GetStats(std::nullopt); stats.ok()) gauges.stats = *std::move(stats);
  if (auto bytes = store_->GetCatalogBytes(); bytes.ok()) gauges.catalog_bytes = *bytes;
  return {.type = "text/plain; version=0.0.4; charset=utf-8",
          .body = ToText(store_->metrics(), gauges)};
}

HttpServer::Response Monitor::Healthz() const {
  // Where the store hangs, this does not come back either: that, too, is an answer.
  const Store::Health health = store_->GetHealth();
  if (main_->Overdue() > absl::ZeroDuration()) {
    return Answer(false, {"the main loop has not been heard of for too long"});
  }
  return Answer(health.live, health.problems);
}

HttpServer::Response Monitor::Readyz() const {
  const Store::Health health = store_->GetHealth();
  return Answer(health.ready, health.problems);
}

}  // namespace ckptd
