#include "daemon/rpc/interceptor.h"

#include <string>
#include <string_view>

#include <fmt/format.h>

#include "proto/channel.h"
#include "proto/status.h"

namespace ckptd {
namespace {

using grpc::experimental::InterceptionHookPoints;

// "ListRuns" of "/ckpt.v1.Checkpoints/ListRuns".
std::string_view ShortName(std::string_view method) { return method.substr(method.rfind('/') + 1); }

class CallInterceptor final : public grpc::experimental::Interceptor {
 public:
  CallInterceptor(const char* method, std::atomic<int>* calls, Metrics* metrics)
      : method_(method),
        calls_(calls),
        meter_(*metrics, ShortName(method), absl::StatusCode::kCancelled) {
    ++*calls_;
  }
  ~CallInterceptor() override { --*calls_; }

  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      grpc::Status status = batch->GetSendStatus();
      // Our own have a text and details.
      if (status.error_code() == grpc::StatusCode::INTERNAL && status.error_message().empty() &&
          status.error_details().empty()) {
        status = ckpt::ToGrpc(ckpt::BadField(
            "", fmt::format("the request of {} cannot be read: its bytes are no such message, or "
                            "a text in it is not UTF-8",
                            method_)));
        batch->ModifySendStatus(status);
      }
      meter_.End(static_cast<absl::StatusCode>(status.error_code()));
    }
    batch->Proceed();
  }

 private:
  const char* method_;
  std::atomic<int>* calls_;
  CallMeter meter_;
};

class Factory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  Factory(std::atomic<int>* calls, Metrics* metrics) : calls_(calls), metrics_(metrics) {}

  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo* info) override {
    const std::string method = info->method() == nullptr ? "" : info->method();
    if (!method.starts_with("/ckpt.v1.") || method == ckpt::kPushChunksMethod ||
        method == ckpt::kFetchChunksMethod) {
      return nullptr;
    }
    return new CallInterceptor(info->method(), calls_, metrics_);
  }

 private:
  std::atomic<int>* calls_;
  Metrics* metrics_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> NewInterceptors(
    std::atomic<int>* calls, Metrics* metrics) {
  return std::make_unique<Factory>(calls, metrics);
}

}  // namespace ckptd
