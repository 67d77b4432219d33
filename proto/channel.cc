#include "proto/channel.h"

#include <grpc/grpc.h>

#include "proto/limits.h"

namespace ckpt {
namespace {

// What both ends set, and why. One client stream of 4 MiB messages to a server
// in the same process over loopback, on two busy cores; medians of nine times
// 512 MiB in one run, with the allocator as it comes and as the daemon sets it
// (daemon/main.cc), in GB/s and processor seconds a GiB of both ends together:
//
//                                     as it comes    as the daemon sets it
//   gRPC's defaults                   1.0   0.78     2.7   0.35
//   no BDP probe                      1.4   0.54     5.3   0.20
//   and a look-ahead of 16 MiB        1.5   0.61     3.0   0.27
//   and frames of 4 MiB               1.4   0.51     3.4   0.21
//   and a write buffer of 4 MiB       1.1   0.66     2.1   0.25
//   and TCP reads of 1 to 4 MiB       1.4   0.61     2.6   0.29
//
// An untuned stream swings between a fast and a slow pace for the sake of the
// allocator: whether glibc gives a message's memory back to the kernel depends
// on what happens to lie above it on the heap. The same stream ran at 3.5 GB/s
// with 8,000 page faults in 256 MiB and at 1.7 GB/s with 27,000. The BDP probe
// costs as much again: its pings and settings interrupt the stream all the time,
// and it shrinks the window when the receiver is slow for a moment.
//
// The look-ahead does not matter on loopback (1 to 32 MiB are alike: gRPC lets a
// message in whole once somebody waits for it), but a network with a delay needs
// it; it is also the most that a receiver buffers for one stream, so it bounds
// the daemon's memory: four chunks. Write buffer and TCP reads gain nothing and
// are left alone.
constexpr int kLookaheadBytes = 16 << 20;
constexpr int kFrameBytes = 4 << 20;

template <typename SetInt>
void Tune(SetInt set) {
  set(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  set(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  set(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytes);
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
