// HTTP/1.1 through a plain socket, and Prometheus' text format taken apart.
#pragma once

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/testing/loopback.h"

namespace ckpt::test {

struct HttpReply {
  int status = 0;  // 0: no answer
  std::string head, body;
};

// Asks 127.0.0.1:`port`; waits at most `seconds` for each piece of the answer.
inline HttpReply Http(int port, const std::string& path, const std::string& method = "GET",
                      int seconds = 20) {
  HttpReply reply;
  const int fd = ConnectTo(port);
  if (fd < 0) return reply;
  const timeval limit = {.tv_sec = seconds, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  const std::string request = method + " " + path + " HTTP/1.1\r\nHost: test\r\n\r\n";
  EXPECT_EQ(send(fd, request.data(), request.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(request.size()));
  std::string all;
  char buffer[4096];
  for (ssize_t n; (n = recv(fd, buffer, sizeof(buffer), 0)) > 0;) {
    all.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  const size_t end = all.find("\r\n\r\n");
  if (end == std::string::npos || all.rfind("HTTP/1.1 ", 0) != 0) return reply;
  reply.status = std::atoi(all.c_str() + 9);
  reply.head = all.substr(0, end);
  reply.body = all.substr(end + 4);
  return reply;
}

// Values by series as they are written: `name{label="value"}`.
using Series = std::map<std::string, double>;
inline Series ParseMetrics(const std::string& text) {
  Series series;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    const size_t space = line.rfind(' ');
    char* end = nullptr;
    const double value = std::strtod(line.c_str() + space + 1, &end);
    EXPECT_EQ(*end, '\0') << line;
    EXPECT_TRUE(series.emplace(line.substr(0, space), value).second) << "twice: " << line;
  }
  return series;
}

}  // namespace ckpt::test
