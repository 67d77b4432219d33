// What is done around every call but the chunk streams, which pay nothing.
#pragma once

#include <atomic>
#include <memory>

#include <grpcpp/support/server_interceptor.h>

#include "daemon/metrics/metrics.h"

namespace ckptd {

// Counts the calls under way in `calls`, and all of them in `metrics`; both must
// outlive the server. And answers requests whose bytes are no message of their
// call: gRPC does that by itself, before a handler sees it, with INTERNAL and no
// text, which clients take for a broken line and try again; this makes it
// INVALID_ARGUMENT/BAD_FIELD with a sentence.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> NewInterceptors(
    std::atomic<int>* calls, Metrics* metrics);

}  // namespace ckptd
