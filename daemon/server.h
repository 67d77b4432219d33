// The gRPC server around a store: listeners, limits, health, drain.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include <absl/time/time.h>
#include <grpcpp/server.h>

#include "daemon/config.h"
#include "daemon/rpc/guard.h"
#include "daemon/rpc/health_service.h"
#include "daemon/rpc/service.h"
#include "proto/status.h"

namespace ckptd {

class Server {
 public:
  // Binds every address, or none: UNAVAILABLE names the one that failed.
  // INVALID_ARGUMENT for an address that may not be served on (listen.h), or
  // certificates that cannot be served with (access/tls.h). What `guard` works
  // with must outlive the server.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config, const Guard& guard);

  // The addresses, with the ports that were chosen for port 0.
  const std::vector<std::string>& addresses() const { return addresses_; }

  // What grpc.health.v1 says: of "" whether it is live, of ckpt.v1.Checkpoints
  // whether it is ready.
  void SetHealth(bool live, bool ready);

  // Under way: calls without the chunk streams, and these.
  int calls() const { return calls_; }
  int streams() { return service_.streams(); }

  // No new call is taken, those under way may finish within `timeout`; then they
  // are cancelled.
  void Drain(absl::Duration timeout);

 private:
  Server(const Config& config, const Guard& guard)
      : guard_(guard), service_(guard_, config.idle_timeout), health_service_(guard.store()) {}

  std::atomic<int> calls_ = 0;  // under way, chunk streams not counted
  const Guard guard_;
  CheckpointsService service_;
  HealthService health_service_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::string> addresses_;
};

}  // namespace ckptd
