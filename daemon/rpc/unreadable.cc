#include "daemon/rpc/unreadable.h"

#include <string>

#include <fmt/format.h>

#include "proto/channel.h"
#include "proto/status.h"

namespace ckptd {
namespace {

using grpc::experimental::InterceptionHookPoints;

class UnreadableAnswer final : public grpc::experimental::Interceptor {
 public:
  explicit UnreadableAnswer(const char* method) : method_(method) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      const grpc::Status status = batch->GetSendStatus();
      // Our own have a text and details.
      if (status.error_code() == grpc::StatusCode::INTERNAL && status.error_message().empty() &&
          status.error_details().empty()) {
        batch->ModifySendStatus(ckpt::ToGrpc(ckpt::BadField(
            "", fmt::format("the request of {} cannot be read: its bytes are no such message, or "
                            "a text in it is not UTF-8",
                            method_))));
      }
    }
    batch->Proceed();
  }

 private:
  const char* method_;
};

class Factory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    const std::string method = info->method() == nullptr ? "" : info->method();
    if (!method.starts_with("/ckpt.v1.") || method == ckpt::kPushChunksMethod ||
        method == ckpt::kFetchChunksMethod) {
      return nullptr;
    }
    return new UnreadableAnswer(info->method());
  }
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> NewUnreadableAnswers() {
  return std::make_unique<Factory>();
}

}  // namespace ckptd
