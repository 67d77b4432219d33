#include "daemon/rpc/interceptor.h"

#include <string>

#include <fmt/format.h>

#include "proto/channel.h"
#include "proto/status.h"

namespace ckptd {
namespace {

using grpc::experimental::InterceptionHookPoints;

class CallInterceptor final : public grpc::experimental::Interceptor {
 public:
  CallInterceptor(const char* method, std::atomic<int>* calls) : method_(method), calls_(calls) {
    ++*calls_;
  }
  ~CallInterceptor() override { --*calls_; }

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
  std::atomic<int>* calls_;
};

class Factory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit Factory(std::atomic<int>* calls) : calls_(calls) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    const std::string method = info->method() == nullptr ? "" : info->method();
    if (!method.starts_with("/ckpt.v1.") || method == ckpt::kPushChunksMethod ||
        method == ckpt::kFetchChunksMethod) {
      return nullptr;
    }
    return new CallInterceptor(info->method(), calls_);
  }

 private:
  std::atomic<int>* calls_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> NewInterceptors(
    std::atomic<int>* calls) {
  return std::make_unique<Factory>(calls);
}

}  // namespace ckptd
