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
  explicit OperatedDaemon(const std::string& data_dir, std::vector<std::string> more = {})
      : Daemon(kCkptd, data_dir, std::move(more)) {
    AddFlags({"--metrics-listen", port_.address()});
  }

  // Waits for metrics as well, which come after the calls.
  testing::AssertionResult Start() {
    testing::AssertionResult started = Daemon::Start();
    if (started) WaitUntil([&] { return Listens(metrics_port()) || process().Ended(); });
    return started;
  }

  int metrics_port() const { return port_.number(); }
  HttpReply Ask(const std::string& path) const { return Http(metrics_port(), path); }
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
  ReservedPort port_;
};

}  // namespace ckpt::test
