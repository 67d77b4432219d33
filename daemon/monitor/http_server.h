// GET of a few paths over HTTP/1.1, for Prometheus and for probes. Unencrypted
// and read-only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "proto/status.h"

struct mg_context;

namespace ckptd {

class HttpServer {
 public:
  struct Response {
    int status = 200;
    std::string type = "text/plain; charset=utf-8";
    std::string body;
  };
  // May be called by several threads at once, and must not throw.
  using Handler = std::function<Response()>;
  using Routes = std::map<std::string, Handler>;  // by path

  // Serves `routes` (any other path is 404) on host:port. INVALID_ARGUMENT
  // for what is no such address, UNAVAILABLE/UNREACHABLE where it cannot listen.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& address,
                                                           Routes routes);
  // Waits for the handlers that are running.
  ~HttpServer();

  // With the port that was chosen for port 0.
  const std::string& address() const { return address_; }

 private:
  explicit HttpServer(Routes routes) : routes_(std::move(routes)) {}

  Routes routes_;  // fixed
  mg_context* context_ = nullptr;
  std::string address_;
  std::string host_;  // to reach it at from here
  int port_ = 0;
};

}  // namespace ckptd
