#include "daemon/rpc/health_service.h"

namespace ckptd {

grpc::Status HealthService::Check(grpc::ServerContext*, const ckpt::v1::HealthCheckRequest*,
                                  ckpt::v1::HealthCheckResponse* response) {
  const Store::Health health = store_->GetHealth();
  response->set_ready(health.ready);
  response->set_live(health.live);
  response->set_draining(health.draining);
  response->mutable_problems()->Add(health.problems.begin(), health.problems.end());
  response->set_version(store_->version());
  return grpc::Status::OK;
}

}  // namespace ckptd
