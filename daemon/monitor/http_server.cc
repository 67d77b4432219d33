#include "daemon/monitor/http_server.h"

#include <atomic>
#include <string_view>
#include <thread>

#include <absl/strings/numbers.h>
#include <absl/time/clock.h>
#include <civetweb.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "proto/names.h"

namespace ckptd {
namespace {

// One that hangs, because the disk does, leaves the others to answer.
constexpr char kThreads[] = "4";
constexpr char kRequestTimeoutMs[] = "10000";

int Log(const mg_connection*, const char* text) {
  spdlog::debug("http: {}", ckpt::Printable(text));
  return 1;
}

void Send(mg_connection* connection, const HttpServer::Response& response, bool with_body) {
  const std::string header = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n"
      "Connection: close\r\n\r\n",
      response.status, mg_get_response_code_text(connection, response.status), response.type,
      response.body.size());
  // Whoever asked may be gone, which is nobody's loss.
  if (mg_write(connection, header.data(), header.size()) <= 0 || !with_body) return;
  mg_write(connection, response.body.data(), response.body.size());
}

// `routes`: by path. They are looked up here, since civetweb takes each of its own
// for the beginning of longer paths too.
int Handle(mg_connection* connection, void* routes) {
  const mg_request_info& request = *mg_get_request_info(connection);
  const std::string_view method = request.request_method;
  const auto& handlers = *static_cast<const HttpServer::Routes*>(routes);
  const auto found = handlers.find(request.local_uri);
  HttpServer::Response response{.status = 404, .body = "nothing is served at this path\n"};
  if (found != handlers.end() && (method == "GET" || method == "HEAD")) {
    response = found->second();
  } else if (found != handlers.end()) {
    response = {.status = 405, .body = "only GET is served here\n"};
  }
  Send(connection, response, method != "HEAD");
  return response.status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& address,
                                                              Routes routes) {
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535 ||
      address.find(',') != std::string::npos) {
    return ckpt::BadField("metrics-listen",
                          fmt::format("\"{}\" is no address for metrics: write host:port, such as "
                                      "127.0.0.1:7421",
                                      ckpt::Printable(address)));
  }
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(routes)));
  mg_init_library(0);
  const char* options[] = {"listening_ports",    address.c_str(),   "num_threads", kThreads,
                           "request_timeout_ms", kRequestTimeoutMs, nullptr};
  mg_callbacks callbacks{};
  callbacks.log_message = Log;
  mg_init_data init{
      .callbacks = &callbacks, .user_data = nullptr, .configuration_options = options};
  server->context_ = mg_start2(&init, nullptr);
  mg_server_port bound{};
  if (server->context_ == nullptr || mg_get_server_ports(server->context_, 1, &bound) != 1) {
    return ckpt::MakeError(
        absl::StatusCode::kUnavailable, ckpt::reason::kUnreachable,
        fmt::format("cannot serve metrics on {}: is another process using it, or "
                    "is it not an address of this machine?",
                    address));
  }
  mg_set_request_handler(server->context_, "/", Handle, &server->routes_);
  server->host_ = address.substr(0, colon);
  if (server->host_ == "0.0.0.0") server->host_ = "127.0.0.1";
  server->port_ = bound.port;
  server->address_ = fmt::format("{}:{}", address.substr(0, colon), bound.port);
  return server;
}

HttpServer::~HttpServer() {
  if (context_ != nullptr) {
    std::atomic<bool> stopped = false;
    std::thread stopper([&] {
      mg_stop(context_);
      stopped = true;
    });
    // Who listens looks only every two seconds whether to stop, or when somebody comes.
    while (!stopped) {
      char error[64];
      mg_connection* nobody = mg_connect_client(host_.c_str(), port_, 0, error, sizeof(error));
      if (nobody != nullptr) mg_close_connection(nobody);
      absl::SleepFor(absl::Milliseconds(5));
    }
    stopper.join();
  }
  mg_exit_library();
}

}  // namespace ckptd
