// What whoever operates the daemon sees of it over HTTP:
//   /metrics  for Prometheus
//   /healthz  200 while the process does what it should, else it is to be restarted
//   /readyz   200 while it takes checkpoints, else 503 and why not, a line each
#pragma once

#include <memory>
#include <string>

#include "daemon/monitor/http_server.h"
#include "daemon/os/pulse.h"
#include "daemon/store/store.h"
#include "proto/status.h"

namespace ckptd {

class Monitor {
 public:
  struct Options {
    std::string listen;  // host:port
    bool allow_remote = false;
    std::string version;
    uint64_t keep_free_bytes = 0;
  };
  // `store` and `main`, the pulse of the program's own loop, must outlive it.
  // INVALID_ARGUMENT for an address that others reach, without allow_remote; the
  // other codes of HttpServer::Start.
  static absl::StatusOr<std::unique_ptr<Monitor>> Start(Options options, Store* store,
                                                        const os::Pulse* main);

  const std::string& address() const { return server_->address(); }

 private:
  Monitor(Options options, Store* store, const os::Pulse* main)
      : options_(std::move(options)), store_(store), main_(main) {}

  HttpServer::Response Metrics() const;
  HttpServer::Response Healthz() const;
  HttpServer::Response Readyz() const;

  const Options options_;
  Store* const store_;
  const os::Pulse* const main_;
  const Stopwatch since_;
  std::unique_ptr<HttpServer> server_;  // last: its threads use the rest
};

}  // namespace ckptd
