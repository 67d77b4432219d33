// A thousand connections that do nothing, and streams on which nothing moves, do
// not keep eight pushers from their work, nor take the daemon's memory.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <fmt/format.h>
#include <grpcpp/support/sync_stream.h>

#include "proto/channel.h"
#include "proto/limits.h"
#include "tests/integration/daemon/wire.h"

namespace ckpt::test {
namespace {

constexpr int kIdleConnections = 1000;
constexpr int kSlowPushes = 64;
constexpr int kSlowFetches = 8;
constexpr int kPushers = 8;
constexpr uint64_t kMemory = 512 * kMiB;

// A connection that speaks HTTP/2 so far that the daemon takes it for one.
class IdleConnection {
 public:
  explicit IdleConnection(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const std::string hello =
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string("\0\0\0\x04\0\0\0\0\0", 9);
    EXPECT_EQ(send(fd_, hello.data(), hello.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(hello.size()));
  }
  IdleConnection(const IdleConnection&) = delete;
  IdleConnection& operator=(const IdleConnection&) = delete;
  ~IdleConnection() { close(fd_); }

 private:
  const int fd_;
};

// A push stream that sends one chunk and then nothing.
class SlowPush {
 public:
  SlowPush(const std::shared_ptr<grpc::Channel>& channel, const std::string& upload,
           const Shard& shard) {
    static const grpc::internal::RpcMethod method(kPushChunksMethod,
                                                  grpc::internal::RpcMethod::BIDI_STREAMING);
    call_.reset(
        grpc::internal::ClientReaderWriterFactory<v1::ChunkFrame, v1::PushChunksResponse>::Create(
            channel.get(), method, &context_));
    v1::ChunkFrame frame;
    frame.set_upload_id(upload);
    frame.set_data(shard.bytes.data(), shard.manifest.chunks[0].length);
    EXPECT_TRUE(call_->Write(frame));
  }
  // Waits for the daemon to end it.
  absl::Status End() {
    v1::PushChunksResponse response;
    EXPECT_FALSE(call_->Read(&response));
    return FromGrpc(call_->Finish());
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ChunkFrame, v1::PushChunksResponse>> call_;
};

// A fetch stream of which nothing is read.
class SlowFetch {
 public:
  SlowFetch(v1::Checkpoints::Stub& stub, uint64_t checkpoint) {
    v1::FetchChunksRequest request;
    request.set_checkpoint_id(checkpoint);
    call_ = stub.FetchChunks(&context_, request);
  }
  // Reads what was on its way when the daemon gave it up.
  absl::Status End() {
    v1::ChunkFrame frame;
    while (call_->Read(&frame)) {
    }
    return FromGrpc(call_->Finish());
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::ChunkFrame>> call_;
};

TEST(Crowd, OfIdleAndSlowPeersLeavesRoomForWork) {
  rlimit files = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);  // the daemon's too
  ASSERT_GT(files.rlim_cur, 2u * kIdleConnections);
  ckptd::os::TempDir dir;
  Daemon daemon(CKPTD_BINARY, dir / "data", {"--idle-timeout", "5s", "--memory-limit", "256MiB"});
  ASSERT_TRUE(daemon.Start());
  auto client = Connect(daemon.address(), absl::Minutes(2));
  const RunName run{"default", "work"};
  const Shard large = MakeShard({{"w", 500, 64 * kMiB}});
  const auto pushed = PushShard(*client, run, OpenAttempt(*client, run), 1, large);
  ASSERT_TRUE(pushed.ok()) << pushed.status();

  const int port = std::stoi(daemon.address().substr(daemon.address().rfind(':') + 1));
  std::vector<std::unique_ptr<IdleConnection>> idle;
  for (int i = 0; i < kIdleConnections; ++i) idle.push_back(std::make_unique<IdleConnection>(port));

  const auto channel = RawChannel(daemon.address());
  std::vector<Shard> shards;
  std::vector<std::unique_ptr<SlowPush>> pushes;
  for (int i = 0; i < kSlowPushes; ++i) {
    const RunName slow{"default", fmt::format("slow{}", i)};
    shards.push_back(MakeShard({{"w", 600 + static_cast<uint64_t>(i), kMiB}, {"v", 7, 300000}}));
    auto upload = client->OpenUpload({.run = slow,
                                      .attempt = OpenAttempt(*client, slow),
                                      .step = 1,
                                      .manifest = &shards.back().manifest});
    ASSERT_TRUE(upload.ok()) << upload.status();
    pushes.push_back(std::make_unique<SlowPush>(channel, upload->upload_id, shards.back()));
  }
  std::vector<std::unique_ptr<SlowFetch>> fetches;
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  std::vector<std::unique_ptr<v1::Checkpoints::Stub>> stubs;
  for (int i = 0; i < kSlowFetches; ++i) {
    channels.push_back(RawChannel(daemon.address()));
    stubs.push_back(v1::Checkpoints::NewStub(channels.back()));
    fetches.push_back(std::make_unique<SlowFetch>(*stubs.back(), pushed->checkpoint->id));
  }

  // Meanwhile: work.
  std::vector<absl::Status> results(kPushers);
  std::vector<std::thread> workers;
  for (int i = 0; i < kPushers; ++i) {
    workers.emplace_back([&, i] {
      auto worker = Connect(daemon.address(), absl::Minutes(2));
      const RunName own{"default", fmt::format("work{}", i)};
      const auto seed = static_cast<uint64_t>(900 + i);
      const Manifest manifest = MakeManifest(seed, 48 * kMiB);
      PushRequest request;
      request.offer = {
          .run = own, .attempt = OpenAttempt(*worker, own), .step = 1, .manifest = &manifest};
      request.source = ReadRandom(seed);
      results[static_cast<size_t>(i)] = Push(*worker, request).status();
    });
  }
  for (std::thread& worker : workers) worker.join();
  for (const absl::Status& result : results) EXPECT_TRUE(result.ok()) << result;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  const Memory memory = MemoryOf(daemon.process().pid());
  EXPECT_LT(memory.peak, kMemory) << memory.peak / kMiB << " MiB";
#endif

  for (const auto& push : pushes) {
    const absl::Status ended = push->End();
    EXPECT_EQ(ended.code(), absl::StatusCode::kUnavailable) << ended;
    EXPECT_EQ(ReasonOf(ended), reason::kStreamIdle) << ended;
    EXPECT_TRUE(IsOneSentence(std::string(ended.message())));
  }
  // Who takes nothing is not told: only then may the rest be read.
  const auto given_up = [&] {
    int count = 0;
    const std::string log = daemon.process().Output();
    for (size_t at = 0; (at = log.find("is given up", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  EXPECT_TRUE(WaitUntil([&] { return given_up() == kSlowFetches; })) << given_up();
  for (const auto& fetch : fetches) {
    const absl::Status ended = fetch->End();
    EXPECT_EQ(ended.code(), absl::StatusCode::kCancelled) << ended;
  }
  // What a slow push sent is kept: its client goes on from there.
  for (int i = 0; i < kSlowPushes; i += 16) {
    const RunName slow{"default", fmt::format("slow{}", i)};
    const auto finished = PushShard(*client, slow, 1, 1, shards[static_cast<size_t>(i)]);
    ASSERT_TRUE(finished.ok()) << finished.status();
    EXPECT_LT(finished->sent_bytes, finished->total_bytes);
  }
  EXPECT_EQ(FetchShard(*client, pushed->checkpoint->id), large.bytes);
}

}  // namespace
}  // namespace ckpt::test
