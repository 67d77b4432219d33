// Requests whose bytes are no message of their call.
#pragma once

#include <memory>

#include <grpcpp/support/server_interceptor.h>

namespace ckptd {

// gRPC answers such a request by itself, with INTERNAL and no text, before a
// handler sees it; clients take that for a broken line and try again. This
// makes it INVALID_ARGUMENT/BAD_FIELD with a sentence. The chunk streams, which
// parse their bytes themselves, pay nothing for it.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> NewUnreadableAnswers();

}  // namespace ckptd
