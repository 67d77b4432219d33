#include "tests/bench/loopback.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/sync_stream.h>

#include "proto/channel.h"
#include "proto/chunk_frame.h"
#include "proto/limits.h"

namespace ckpt::bench {
namespace {

[[noreturn]] void Die(const std::string& text) {
  fmt::print(stderr, "bench: loopback: {}\n", text);
  std::exit(1);
}

grpc::ByteBuffer BufferOf(grpc::Slice slice) { return grpc::ByteBuffer(&slice, 1); }

// Sends the frame as often as the request says, each once the one before has left.
class Sender final : public grpc::ServerGenericBidiReactor {
 public:
  explicit Sender(const std::vector<uint8_t>& data)
      : frame_({.data = {BorrowSlice(data.data(), data.size(), [](void*) {}, nullptr)}}) {
    StartRead(&request_);
  }

 private:
  void OnReadDone(bool ok) override {
    grpc::Slice slice;
    if (!ok || !request_.DumpToSingleSlice(&slice).ok()) {
      return Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no request"));
    }
    left_ = std::stoull(std::string(slice.begin(), slice.end()));
    Next();
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    Next();
  }
  void OnDone() override { delete this; }
  void Next() {
    if (left_-- == 0) return Finish(grpc::Status::OK);
    outgoing_ = EncodeFrame(frame_);
    StartWrite(&outgoing_);
  }

  const ChunkFrame frame_;
  grpc::ByteBuffer request_, outgoing_;
  uint64_t left_ = 0;
};

class Service final : public grpc::CallbackGenericService {
 public:
  Service() : data_(kMaxChunkBytes, 0x5a) {}
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Sender(data_);
  }

 private:
  const std::vector<uint8_t> data_;
};

void Receive(const std::string& address, uint64_t frames) {
  grpc::ChannelArguments arguments = TunedChannelArguments();
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  const grpc::internal::RpcMethod method(kFetchChunksMethod,
                                         grpc::internal::RpcMethod::SERVER_STREAMING);
  grpc::ClientContext context;
  const std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> reader(
      grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(
          channel.get(), method, &context, BufferOf(grpc::Slice(std::to_string(frames)))));
  grpc::ByteBuffer buffer;
  uint64_t received = 0;
  while (reader->Read(&buffer)) {
    ++received;
    buffer.Clear();
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) Die(status.error_message());
  if (received != frames) Die(fmt::format("{} of {} frames came", received, frames));
}

}  // namespace

double LoopbackRate(uint64_t bytes, int streams) {
  Service service;
  grpc::ServerBuilder builder;
  TuneServer(builder);
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) Die("the server does not start");
  const std::string address = fmt::format("127.0.0.1:{}", port);
  const uint64_t frames = std::max<uint64_t>(1, bytes / kMaxChunkBytes / streams);
  // Connecting and the first windows are not what is asked for.
  Receive(address, 8);

  const auto begun = std::chrono::steady_clock::now();
  std::vector<std::thread> receivers;
  for (int i = 0; i < streams; ++i) receivers.emplace_back(Receive, address, frames);
  for (std::thread& receiver : receivers) receiver.join();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
  server->Shutdown(std::chrono::system_clock::now());
  return static_cast<double>(frames * streams * kMaxChunkBytes) / seconds.count() / 1e9;
}

}  // namespace ckpt::bench
