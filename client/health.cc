#include "client/health.h"

#include <chrono>

#include "ckpt/v1/health.grpc.pb.h"

namespace ckpt {

absl::StatusOr<Health> CheckHealth(const Client& client, absl::Duration deadline) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(deadline));
  v1::HealthCheckResponse response;
  const grpc::Status called =
      v1::Health::NewStub(client.channel())->Check(&context, v1::HealthCheckRequest(), &response);
  if (!called.ok()) return client.Translate(FromGrpc(called));
  return Health{.ready = response.ready(),
                .live = response.live(),
                .draining = response.draining(),
                .problems = {response.problems().begin(), response.problems().end()}};
}

}  // namespace ckpt
