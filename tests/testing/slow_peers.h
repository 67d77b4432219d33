// Peers that hold connections and streams of a daemon and hardly use them.
// Without GoogleTest: the benchmark has them as well. Nothing here tries again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <absl/time/time.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include "ckpt/v1/service.grpc.pb.h"
#include "proto/status.h"

namespace ckpt::test {

// A connection that speaks HTTP/2 so far that the daemon takes it for one. One
// thread at a time.
class IdleConnection {
 public:
  // To a port of 127.0.0.1. UNAVAILABLE.
  static absl::StatusOr<std::unique_ptr<IdleConnection>> Open(int port);
  IdleConnection(const IdleConnection&) = delete;
  IdleConnection& operator=(const IdleConnection&) = delete;
  ~IdleConnection();

  // Whether the daemon still serves it: answers a PING within `limit`. To be
  // asked once: who pings more often is cut.
  bool Answers(absl::Duration limit = absl::Seconds(10));

 private:
  explicit IdleConnection(int fd) : fd_(fd) {}

  const int fd_;
};

// A push stream that waits for nobody. One thread at a time.
class SlowPush {
 public:
  SlowPush(std::shared_ptr<grpc::Channel> channel, std::string upload_id);

  // False: the daemon has ended it.
  bool Send(uint32_t chunk, std::span<const std::byte> bytes);
  // Says that this was all: how many chunks the daemon has counted.
  absl::StatusOr<uint64_t> End();
  // Says nothing, and waits until the daemon ends it.
  absl::Status WaitForEnd();

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  const std::string upload_id_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ChunkFrame, v1::PushChunksResponse>> call_;
};

// A fetch stream of a whole shard of rank 0, of which nothing is read but what
// is taken. One thread at a time.
class SlowFetch {
 public:
  SlowFetch(std::shared_ptr<grpc::Channel> channel, uint64_t checkpoint_id);

  // Takes a chunk. False: there are no more.
  bool Take();
  // Takes all that is left. OK: that was the whole shard.
  absl::Status End();

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  v1::Checkpoints::Stub stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::ChunkFrame>> call_;
};

}  // namespace ckpt::test
