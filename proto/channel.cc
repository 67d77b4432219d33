#include "proto/channel.h"

#include <grpc/grpc.h>

#include "proto/limits.h"

namespace ckpt {
namespace {

// What both ends set. gRPC's defaults give 0.3 to 0.9 GB/s on one loopback
// stream and swing from run to run, because the BDP probe shrinks and grows
// the window; fixed sizes hold. The look-ahead is also the most that a
// receiver buffers for one stream, so it bounds the daemon's memory: 16 MiB,
// four chunks.
constexpr int kLookaheadBytes = 16 << 20;
constexpr int kFrameBytes = 4 << 20;
constexpr int kTcpReadBytes = 1 << 20;
constexpr int kWriteBufferBytes = 4 << 20;

template <typename SetInt>
void Tune(SetInt set) {
  set(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  set(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  set(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytes);
  set(GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, kWriteBufferBytes);
  set("grpc.experimental.tcp_read_chunk_size", kTcpReadBytes);
  set("grpc.experimental.tcp_max_read_chunk_size", kFrameBytes);
}

}  // namespace

grpc::ChannelArguments TunedChannelArguments() {
  grpc::ChannelArguments arguments;
  Tune([&](const char* name, int value) { arguments.SetInt(name, value); });
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // A dead peer behind a silent network is noticed within half a minute.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // After a daemon's restart the client is back within a second or two.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  // Despite its name how long one try to connect may take: a busy daemon or a
  // slow network needs more than a moment. A refused one ends at once.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000);
  return arguments;
}

void TuneServer(grpc::ServerBuilder& builder) {
  Tune([&](const char* name, int value) { builder.AddChannelArgument(name, value); });
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  // A port already taken is an error, not shared with the other process.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace ckpt
