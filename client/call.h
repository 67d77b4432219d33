// Inside the library: how Client makes a unary call.
#pragma once

#include <chrono>

#include "client/client.h"
#include "proto/channel.h"

namespace ckpt {

template <typename Request, typename Response>
absl::StatusOr<Response> Client::Call(Method<Request, Response> method, const Request& request,
                                      absl::Duration deadline, const TryOptions& tries) {
  Retry retry(options_.retry, options_.world, tries.cancel);
  // The same in all tries: what has had its effect is not done twice.
  const std::string id = options_.world.new_id();
  while (true) {
    grpc::ClientContext context;
    context.AddMetadata(kRequestIdHeader, id);
    const std::string token = CurrentToken();
    Authorize(context);
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(deadline));
    Cancel::Scope scope(tries.cancel, [&context] { context.TryCancel(); });
    Response response;
    const grpc::Status called = (*stub_.*method)(&context, request, &response);
    if (called.ok()) return response;
    if (tries.cancel != nullptr && tries.cancel->requested()) {
      return absl::CancelledError("cancelled");
    }
    const absl::Status status = FromGrpc(called);
    // Whoever makes its own tries needs the status as it came.
    if (!tries.retry) return status;
    const bool again =
        TokenWasReplaced(status, token) ? retry.AgainAnyway() : retry.Again(status);
    if (!again) return Translate(status);
  }
}

}  // namespace ckpt
