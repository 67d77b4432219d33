// ckpt.v1.Health over a Store.
#pragma once

#include "ckpt/v1/health.grpc.pb.h"
#include "daemon/store/store.h"

namespace ckptd {

// Thread-safe. `store` must outlive it, and it the server.
class HealthService final : public ckpt::v1::Health::Service {
 public:
  explicit HealthService(Store* store) : store_(store) {}

  grpc::Status Check(grpc::ServerContext* context, const ckpt::v1::HealthCheckRequest* request,
                     ckpt::v1::HealthCheckResponse* response) override;

 private:
  Store* const store_;
};

}  // namespace ckptd
