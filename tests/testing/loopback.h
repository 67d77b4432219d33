// TCP on 127.0.0.1, for tests and benchmarks. Header-only.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

namespace ckpt::test {

inline int TcpSocket() { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }

inline sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

// Binds to a port that is free, and gives it; 0 where there is none.
inline int BindToFreePort(int fd) {
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  const bool ok = bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  return ok ? ntohs(address.sin_port) : 0;
}

// A port that nobody listens on, and that stays one's own over restarts of what does:
// nobody else who asks this way is given it as long as this lives, and none is by the
// kernel, whose own choice begins at 32768 (net.ipv4.ip_local_port_range).
class ReservedPort {
 public:
  ReservedPort() {
    std::random_device random;
    for (int tries = 0; tries < 1000 && number_ == 0; ++tries) {
      Take(10'000 + static_cast<int>(random() % 22'768));
    }
  }
  ReservedPort(const ReservedPort&) = delete;
  ReservedPort& operator=(const ReservedPort&) = delete;
  ~ReservedPort() { close(claim_); }

  int number() const { return number_; }  // 0: there was none
  std::string address() const { return "127.0.0.1:" + std::to_string(number_); }

 private:
  // The claim is a name without a file, which the kernel lets go with the process.
  void Take(int port) {
    const std::string name = "ckpt-test-port-" + std::to_string(port);
    sockaddr_un claim = {};
    claim.sun_family = AF_UNIX;
    name.copy(claim.sun_path + 1, sizeof(claim.sun_path) - 1);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, reinterpret_cast<sockaddr*>(&claim), size) == 0 && IsFree(port)) {
      claim_ = fd;
      number_ = port;
    } else {
      close(fd);
    }
  }
  static bool IsFree(int port) {
    const int fd = TcpSocket();
    const sockaddr_in address = Loopback(port);
    const bool free = bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    close(fd);
    return free;
  }

  int claim_ = -1;
  int number_ = 0;
};

// A connection, or -1 and errno.
inline int ConnectTo(int port) {
  const int fd = TcpSocket();
  if (fd < 0) return -1;
  const sockaddr_in address = Loopback(port);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

}  // namespace ckpt::test
