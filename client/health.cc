#include "client/health.h"

#include <chrono>

#include "ckpt/v1/health.grpc.pb.h"

namespace ckpt {

absl::StatusOr<Health> CheckHealth(const Client& client, absl::Duration deadline) {
  const auto stub = v1::Health::NewStub(client.channel());
  v1::HealthCheckResponse response;
  const ClientOptions& options = client.options();
  const absl::Status status = CallWithRetry(options.retry, options.world, [&] {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(deadline));
    return FromGrpc(stub->Check(&context, v1::HealthCheckRequest(), &response));
  });
  if (!status.ok()) return client.Translate(status);
  return Health{.ready = response.ready(),
                .live = response.live(),
                .draining = response.draining(),
                .problems = {response.problems().begin(), response.problems().end()},
                .version = response.version()};
}

}  // namespace ckpt
