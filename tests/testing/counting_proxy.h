// A TCP proxy on loopback that counts what goes through it, so that a test can
// say what really went over the line. Header-only.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace ckpt::test {

// Forwards connections on a port of its own to `port` of 127.0.0.1. The
// counters may be read from any thread.
class CountingProxy {
 public:
  explicit CountingProxy(int port) : target_(port) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof(address);
    const bool ok = bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                    listen(listener_, 64) == 0 &&
                    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0;
    EXPECT_TRUE(ok) << "the proxy cannot listen";
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  CountingProxy(const CountingProxy&) = delete;
  CountingProxy& operator=(const CountingProxy&) = delete;
  ~CountingProxy() {
    stopping_ = true;
    acceptor_.join();
    for (std::thread& pump : pumps_) pump.join();
    close(listener_);
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  uint64_t sent() const { return sent_; }          // by clients
  uint64_t received() const { return received_; }  // by clients

 private:
  static sockaddr_in Loopback(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }

  void Accept() {
    while (!stopping_) {
      pollfd waiting = {.fd = listener_, .events = POLLIN};
      if (poll(&waiting, 1, 20) != 1) continue;
      const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client >= 0) pumps_.emplace_back([this, client] { Serve(client); });
    }
  }

  // Both directions of one connection, until either end closes.
  void Serve(int client) {
    const int daemon = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(target_);
    if (connect(daemon, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
      std::thread back([&] { Pump(daemon, client, received_); });
      Pump(client, daemon, sent_);
      back.join();
    }
    close(daemon);
    close(client);
  }

  void Pump(int from, int to, std::atomic<uint64_t>& counter) {
    std::vector<char> buffer(1 << 20);
    while (!stopping_) {
      pollfd waiting = {.fd = from, .events = POLLIN};
      if (poll(&waiting, 1, 20) != 1) continue;
      const ssize_t got = recv(from, buffer.data(), buffer.size(), 0);
      if (got <= 0) break;
      counter += static_cast<uint64_t>(got);
      for (ssize_t done = 0; done < got;) {
        const ssize_t n =
            send(to, buffer.data() + done, static_cast<size_t>(got - done), MSG_NOSIGNAL);
        if (n <= 0) break;
        done += n;
      }
    }
    // Wakes the other direction.
    shutdown(from, SHUT_RDWR);
    shutdown(to, SHUT_RDWR);
  }

  const int target_;
  int port_ = 0;
  int listener_ = -1;
  std::atomic<bool> stopping_ = false;
  std::atomic<uint64_t> sent_ = 0, received_ = 0;
  std::vector<std::thread> pumps_;
  std::thread acceptor_;
};

}  // namespace ckpt::test
