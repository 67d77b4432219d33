// What both sides must agree on of gRPC: the settings that make it fast, names.
#pragma once

#include <grpcpp/server_builder.h>
#include <grpcpp/support/channel_arguments.h>

namespace ckpt {

// For a client channel. Also turns gRPC's own retries off: ours know what has
// arrived (client/retry.h).
grpc::ChannelArguments TunedChannelArguments();
// The same for a server.
void TuneServer(grpc::ServerBuilder& builder);

// The full method names of the two calls that travel as raw byte buffers.
inline constexpr char kPushChunksMethod[] = "/ckpt.v1.Checkpoints/PushChunks";
inline constexpr char kFetchChunksMethod[] = "/ckpt.v1.Checkpoints/FetchChunks";

// The metadata that carries a call's request id (service.proto).
inline constexpr char kRequestIdHeader[] = "ckpt-request-id";
// The metadata that carries the token, and what comes before it there.
inline constexpr char kTokenHeader[] = "authorization";
inline constexpr char kTokenScheme[] = "Bearer ";

}  // namespace ckpt
