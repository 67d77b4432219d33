#include "daemon/server.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include <absl/synchronization/notification.h>

#include <fmt/format.h>
#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>
#include <spdlog/spdlog.h>

#include "daemon/access/tls.h"
#include "daemon/listen.h"
#include "daemon/rpc/interceptor.h"
#include "proto/channel.h"
#include "proto/loopback.h"

namespace ckptd {
namespace {

constexpr absl::Duration kQuietInterval = absl::Milliseconds(50);
constexpr int kStreamsPerConnection = 128;
constexpr absl::Duration kHandshakeTimeout = absl::Seconds(20);
constexpr absl::Duration kConnectionIdle = absl::Minutes(10);
constexpr absl::Duration kConnectionAge = absl::Hours(1);

absl::Status CannotListen(const std::string& address) {
  return ckpt::MakeError(absl::StatusCode::kUnavailable, ckpt::reason::kUnreachable,
                         fmt::format("cannot listen on {}: is another process using it, or is it "
                                     "not an address of this machine?", address));
}

// What one peer, or many, may hold of the daemon. A call that is begun and never
// ended does not count as idle, so connections have an end of their own; clients
// connect anew and go on where they were.
void Limit(grpc::ServerBuilder& builder, const Config& config) {
  grpc::ResourceQuota memory("received");
  memory.Resize(config.memory_limit);
  builder.SetResourceQuota(memory);
  const auto milliseconds = [&](const char* name, absl::Duration time) {
    builder.AddChannelArgument(name, static_cast<int>(absl::ToInt64Milliseconds(time)));
  };
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnection);
  milliseconds(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeout);
  milliseconds(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kConnectionIdle);
  milliseconds(GRPC_ARG_MAX_CONNECTION_AGE_MS, kConnectionAge);
  milliseconds(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, kConnectionAge);
}

// Whether somebody listens on a Unix socket. gRPC removes what is there and
// binds anew: a dead daemon's socket is taken over, a living one's too.
bool IsServed(const std::string& path) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  int connected = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address));
  close(fd);
  return connected == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& config, const Guard& guard) {
  std::unique_ptr<Server> server(new Server(config, guard));
  for (const std::string& address : config.listen) RETURN_IF_ERROR(CheckListen(address, config));
  const TlsFiles tls{config.tls_cert, config.tls_key, config.tls_client_ca};
  if (tls.on()) RETURN_IF_ERROR(CheckTlsFiles(tls));
  const std::shared_ptr<grpc::ServerCredentials> plain = grpc::InsecureServerCredentials();
  const std::shared_ptr<grpc::ServerCredentials> tcp = tls.on() ? NewTlsCredentials(tls) : plain;
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  ckpt::TuneServer(builder);
  Limit(builder, config);
  std::vector<int> ports(config.listen.size());
  for (size_t i = 0; i < config.listen.size(); ++i) {
    const std::string& address = config.listen[i];
    if (address.starts_with("unix:") && IsServed(address.substr(5))) return CannotListen(address);
    // Who reaches a Unix socket is the file system's to say.
    builder.AddListeningPort(address, address.starts_with("unix:") ? plain : tcp, &ports[i]);
  }
  builder.RegisterService(&server->service_);
  builder.RegisterService(&server->health_service_);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(NewInterceptors(&server->calls_, &guard.store()->metrics()));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  server->server_ = builder.BuildAndStart();
  for (size_t i = 0; i < ports.size(); ++i) {
    const std::string& address = config.listen[i];
    bool unix_socket = address.starts_with("unix:");
    if (server->server_ == nullptr || (ports[i] == 0 && !unix_socket)) {
      return CannotListen(address);
    }
    server->addresses_.push_back(
        unix_socket ? address
                    : fmt::format("{}:{}", address.substr(0, address.rfind(':')), ports[i]));
    if (ckpt::IsLoopback(address)) continue;
    if (!tls.on()) spdlog::warn("{} is open to the network without encryption", address);
    if (config.auth == "off") spdlog::warn("{} lets the whole network do everything", address);
  }
  return server;
}

void Server::SetHealth(bool live, bool ready) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  health->SetServingStatus("", live);
  health->SetServingStatus(ckpt::v1::Checkpoints::service_full_name(), ready);
}

void Server::Drain(absl::Duration timeout) {
  server_->GetHealthCheckService()->SetServingStatus(false);
  // gRPC waits until every client has closed its connection, and an idle one
  // looks at it only every 5 seconds. So those are cut once no call is under
  // way; twice in a row, so that a last answer has left.
  absl::Notification stopped;
  std::thread cutter([&] {
    int quiet = 0;
    while (!stopped.WaitForNotificationWithTimeout(kQuietInterval)) {
      quiet = calls_ == 0 && service_.streams() == 0 ? quiet + 1 : 0;
      if (quiet >= 2) grpc_server_cancel_all_calls(server_->c_server());
    }
  });
  server_->Shutdown(absl::ToChronoTime(absl::Now() + timeout));
  stopped.Notify();
  cutter.join();
}

}  // namespace ckptd
