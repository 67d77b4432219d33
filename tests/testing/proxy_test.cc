#include "tests/testing/proxy.h"

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>

#include <absl/time/clock.h>
#include <gtest/gtest.h>

#include "tests/testing/loopback.h"

namespace ckpt::test {
namespace {

// Both ends of one connection through a proxy.
class ProxyTest : public testing::Test {
 protected:
  ProxyTest() : listener_(TcpSocket()) {
    const int port = BindToFreePort(listener_);
    EXPECT_EQ(listen(listener_, 1), 0);
    proxy_.SetTarget(port);
  }
  ~ProxyTest() override {
    for (const int fd : {client_, target_, listener_}) close(fd);
  }

  void Connect() {
    const std::string address = proxy_.address();
    client_ = ConnectTo(std::stoi(address.substr(address.rfind(':') + 1)));
    target_ = accept(listener_, nullptr, nullptr);
    ASSERT_TRUE(client_ >= 0 && target_ >= 0);
  }
  static void Send(int to, const std::string& text) {
    ASSERT_EQ(send(to, text.data(), text.size(), MSG_NOSIGNAL), std::ssize(text));
  }
  // `size` bytes, or what came before the end.
  static std::string Receive(int from, size_t size) {
    std::string text(size, '\0');
    const ssize_t got = recv(from, text.data(), size, MSG_WAITALL);
    text.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return text;
  }

  int listener_ = -1, client_ = -1, target_ = -1;
  Proxy proxy_;
};

TEST_F(ProxyTest, PassesBothWaysAndCounts) {
  Connect();
  Send(client_, "hello");
  EXPECT_EQ(Receive(target_, 5), "hello");
  Send(target_, "you");
  EXPECT_EQ(Receive(client_, 3), "you");
  EXPECT_EQ(proxy_.sent(), 5u);
  EXPECT_EQ(proxy_.received(), 3u);
  EXPECT_EQ(proxy_.faults(), 0u);
}

// Whoever sees the line break must find that it was told of, whichever
// direction the fault struck in.
TEST_F(ProxyTest, TellsOfAFaultBeforeTheLineBreaks) {
  std::atomic<bool> told = false;
  proxy_.SetFaults([] { return LineFault{.kind = LineFault::Kind::kCut, .after = 5}; },
                   [&] {
                     absl::SleepFor(absl::Milliseconds(300));
                     told = true;
                   });
  Connect();
  Send(client_, "hello");
  EXPECT_EQ(Receive(target_, 5), "hello");  // sent on before the fault strikes
  Send(target_, "you");                     // while it is told
  Receive(client_, 4);
  EXPECT_TRUE(told);
  EXPECT_EQ(proxy_.faults(), 1u);
}

}  // namespace
}  // namespace ckpt::test
