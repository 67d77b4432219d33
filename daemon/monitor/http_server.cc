#include "daemon/monitor/http_server.h"

#include <atomic>
#include <functional>
#include <future>
#include <string_view>
#include <system_error>
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

// On a thread of its own: those of civetweb have a stack of 100 KiB, which SQLite
// and the text of all metrics come too near to.
HttpServer::Response Ask(const HttpServer::Handler& handler) {
  try {
    return std::async(std::launch::async, std::cref(handler)).get();
  } catch (const std::system_error& error) {
    return {.status = 503, .body = fmt::format("no thread to answer: {}\n", error.what())};
  }
}

// For each request. Paths are looked up here, since civetweb takes each of its own
// for the beginning of longer ones too, and knows none before it listens.
int Handle(mg_connection* connection) {
  const mg_request_info& request = *mg_get_request_info(connection);
  const std::string_view method = request.request_method;
  const auto& handlers = *static_cast<const HttpServer::Routes*>(request.user_data);
  const auto found = handlers.find(request.local_uri);
  HttpServer::Response response{.status = 404, .body = "nothing is served at this path\n"};
  if (found != handlers.end() && (method == "GET" || method == "HEAD")) {
    response = Ask(found->second);
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
  callbacks.begin_request = Handle;
  mg_init_data init{
      .callbacks = &callbacks, .user_data = &server->routes_, .configuration_options = options};
  server->context_ = mg_start2(&init, nullptr);
  mg_server_port bound{};
  if (server->context_ == nullptr || mg_get_server_ports(server->context_, 1, &bound) != 1) {
    return ckpt::MakeError(
        absl::StatusCode::kUnavailable, ckpt::reason::kUnreachable,
        fmt::format("cannot serve metrics on {}: is another process using it, or "
                    "is it not an address of this machine?",
                    address));
  }
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
