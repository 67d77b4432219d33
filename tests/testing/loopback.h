// TCP on 127.0.0.1, for tests and benchmarks. Header-only.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

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

// A port that nobody listened on a moment ago; 0 where there is none.
inline int FindFreePort() {
  const int fd = TcpSocket();
  const int port = BindToFreePort(fd);
  close(fd);
  return port;
}

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
