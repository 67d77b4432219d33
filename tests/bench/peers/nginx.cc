#include "tests/bench/peers/nginx.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "tests/bench/common.h"
#include "tests/bench/disk.h"
#include "tests/testing/loopback.h"

namespace ckpt::bench {
namespace {

std::string WriteConfig(const std::string& directory, int port) {
  std::filesystem::create_directories(directory + "/files");
  const std::string config = directory + "/nginx.conf";
  std::ofstream out(config);
  out << fmt::format(
      R"(daemon off;
master_process off;
pid {0}/pid;
events {{}}
http {{
  access_log off;
  sendfile on;
  client_max_body_size 0;
  client_body_buffer_size 1m;
  client_body_temp_path {0}/body;
  proxy_temp_path {0}/proxy;
  fastcgi_temp_path {0}/fastcgi;
  uwsgi_temp_path {0}/uwsgi;
  scgi_temp_path {0}/scgi;
  server {{
    listen 127.0.0.1:{1};
    root {0}/files;
    location / {{ dav_methods PUT; }}
  }}
}}
)",
      directory, port);
  if (!out.flush()) Die("cannot write " + config);
  return config;
}

}  // namespace

Nginx::Nginx(const std::string& directory)
    : directory_(directory + "/nginx"),
      server_({.words = {"nginx", "-p", directory_, "-e", directory_ + "/error.log", "-c",
                         WriteConfig(directory_, port_.number())},
               .log = directory + "/nginx.log"}) {
  server_.WaitForPort(port_.number());
}

int Nginx::Ask(const std::string& header, const std::string& file) {
  const int socket = test::ConnectTo(port_.number());
  if (socket < 0) Die("nginx does not answer");
  if (write(socket, header.data(), header.size()) != static_cast<ssize_t>(header.size())) {
    Die("nginx hung up");
  }
  if (!file.empty()) {
    const int from = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    ssize_t sent = 0;
    while ((sent = sendfile(socket, from, nullptr, 1u << 30)) > 0) continue;
    close(from);
    if (sent < 0) Die("nginx hung up");
  }
  return socket;
}

double Nginx::Put(const StateFile& state) {
  return Timed([&] {
    const int socket = Ask(fmt::format("PUT /state HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
                                       "Content-Length: {}\r\n\r\n",
                                       state.bytes()),
                           state.path());
    std::array<char, 4096> answer;
    const ssize_t size = recv(socket, answer.data(), answer.size(), 0);
    close(socket);
    const std::string_view head(answer.data(), size > 0 ? static_cast<size_t>(size) : 0);
    if (!head.starts_with("HTTP/1.1 201") && !head.starts_with("HTTP/1.1 204")) {
      Die(fmt::format("nginx answers: {}", head.substr(0, head.find('\r'))));
    }
    SyncFile(directory_ + "/files/state");
  });
}

double Nginx::Get(uint64_t bytes) {
  received_.resize(bytes + 4096);
  return Timed([&] {
    const int socket = Ask("GET /state HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    size_t at = 0;
    ssize_t size = 0;
    while ((size = recv(socket, received_.data() + at, received_.size() - at, 0)) > 0) {
      at += static_cast<size_t>(size);
    }
    close(socket);
    if (at < bytes) Die(fmt::format("nginx gave {} of {} bytes", at, bytes));
  });
}

void Nginx::Clear() {
  std::filesystem::remove(directory_ + "/files/state");
  received_ = {};
}

}  // namespace ckpt::bench
