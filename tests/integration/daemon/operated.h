// A daemon that serves its metrics and health, and what they say.
#pragma once

#include <string>
#include <vector>

#include "tests/integration/daemon/harness.h"
#include "tests/integration/daemon/wire.h"
#include "tests/testing/http.h"
#include "tests/testing/programs.h"

namespace ckpt::test {

// What grpc.health.v1 says of a service: HealthCheckResponse{status: ...}.
inline const std::string kServing = "\x08\x01", kNotServing = "\x08\x02";
inline std::string HealthOf(const std::string& address, const std::string& service) {
  std::string request;  // HealthCheckRequest{service: ...}
  if (!service.empty()) {
    request = "\x0a" + std::string(1, static_cast<char>(service.size())) + service;
  }
  const Reply reply = CallRaw(RawChannel(address), "/grpc.health.v1.Health/Check", {request});
  EXPECT_TRUE(reply.status.ok()) << reply.status;
  return reply.messages.empty() ? "" : reply.messages[0];
}

class OperatedDaemon : public Daemon {
 public:
  OperatedDaemon(const std::string& data_dir, std::vector<std::string> more = {},
                 int port = FreePort())
      : Daemon(kCkptd, data_dir, WithMetrics(std::move(more), port)), port_(port) {}

  // Waits for metrics as well, which come after the calls.
  testing::AssertionResult Start() {
    testing::AssertionResult started = Daemon::Start();
    if (started) WaitUntil([&] { return Listens(port_) || process().Ended(); });
    return started;
  }

  int metrics_port() const { return port_; }
  HttpReply Ask(const std::string& path) const { return Http(port_, path); }
  Series Metrics() const {
    const HttpReply reply = Ask("/metrics");
    EXPECT_EQ(reply.status, 200);
    return ParseMetrics(reply.body);
  }
  double Metric(const std::string& series) const {
    const Series all = Metrics();
    const auto found = all.find(series);
    EXPECT_NE(found, all.end()) << series;
    return found == all.end() ? -1 : found->second;
  }

 private:
  static std::vector<std::string> WithMetrics(std::vector<std::string> flags, int port) {
    flags.push_back("--metrics-listen");
    flags.push_back("127.0.0.1:" + std::to_string(port));
    return flags;
  }

  int port_;
};

}  // namespace ckpt::test
