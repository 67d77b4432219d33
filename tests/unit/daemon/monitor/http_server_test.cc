#include "daemon/monitor/http_server.h"

#include <atomic>
#include <future>
#include <thread>

#include <absl/synchronization/notification.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/http.h"

namespace ckptd {
namespace {

using ::ckpt::test::Http;
using ::ckpt::test::HttpReply;
using ::testing::HasSubstr;

int PortOf(const HttpServer& server) {
  return std::atoi(server.address().substr(server.address().rfind(':') + 1).c_str());
}

TEST(HttpServerTest, ServesItsPathsAndNothingElse) {
  auto server = HttpServer::Start(
      "127.0.0.1:0",
      {{"/good", [] { return HttpServer::Response{.type = "text/x", .body = "fine\n"}; }},
       {"/bad", [] { return HttpServer::Response{.status = 503, .body = "no\n"}; }}});
  ASSERT_TRUE(server.ok()) << server.status();
  struct Case {
    const char* method;
    const char* path;
    int status;
    const char* body;
  };
  for (const Case& c : {
           Case{"GET", "/good", 200, "fine\n"},
           Case{"GET", "/good?x=1", 200, "fine\n"},
           Case{"HEAD", "/good", 200, ""},
           Case{"POST", "/good", 405, "only GET is served here\n"},
           Case{"GET", "/bad", 503, "no\n"},
           Case{"GET", "/good/more", 404, "nothing is served at this path\n"},
           Case{"GET", "/goodness", 404, "nothing is served at this path\n"},
           Case{"GET", "/", 404, "nothing is served at this path\n"},
           Case{"GET", "/../../etc/passwd", 404, "nothing is served at this path\n"},
       }) {
    const HttpReply reply = Http(PortOf(**server), c.path, c.method);
    EXPECT_EQ(reply.status, c.status) << c.method << " " << c.path;
    EXPECT_EQ(reply.body, c.body) << c.method << " " << c.path;
  }
  EXPECT_THAT(Http(PortOf(**server), "/good").head, HasSubstr("Content-Type: text/x\r\n"));
}

TEST(HttpServerTest, AHandlerHasAsMuchStackAsAnyThread) {
  const auto use = [] {
    volatile char room[1 << 20];
    for (size_t i = 0; i < sizeof(room); i += 1024) room[i] = 1;
    return HttpServer::Response{.body = room[0] == 1 ? "enough\n" : ""};
  };
  auto server = HttpServer::Start("127.0.0.1:0", {{"/", use}});
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(Http(PortOf(**server), "/").body, "enough\n");
}

TEST(HttpServerTest, OneThatHangsLeavesTheOthersToAnswer) {
  absl::Notification go_on;
  auto server =
      HttpServer::Start("127.0.0.1:0", {{"/hang",
                                         [&] {
                                           go_on.WaitForNotification();
                                           return HttpServer::Response{};
                                         }},
                                        {"/good", [] { return HttpServer::Response{}; }}});
  ASSERT_TRUE(server.ok()) << server.status();
  auto hanging = std::async(std::launch::async, [&] { return Http(PortOf(**server), "/hang"); });
  for (int i = 0; i < 8; ++i) EXPECT_EQ(Http(PortOf(**server), "/good").status, 200);
  go_on.Notify();
  EXPECT_EQ(hanging.get().status, 200);
}

TEST(HttpServerTest, SaysWhatIsWrongWithAnAddress) {
  auto taken = HttpServer::Start("127.0.0.1:0", {});
  ASSERT_TRUE(taken.ok()) << taken.status();
  struct Case {
    std::string address;
    absl::StatusCode code;
    const char* text;
  };
  for (const Case& c : {
           Case{(*taken)->address(), absl::StatusCode::kUnavailable, "another process"},
           Case{"192.0.2.1:0", absl::StatusCode::kUnavailable, "an address of this machine"},
           Case{"", absl::StatusCode::kInvalidArgument, "host:port"},
           Case{"7421", absl::StatusCode::kInvalidArgument, "host:port"},
           Case{":7421", absl::StatusCode::kInvalidArgument, "host:port"},
           Case{"127.0.0.1:", absl::StatusCode::kInvalidArgument, "host:port"},
           Case{"127.0.0.1:65536", absl::StatusCode::kInvalidArgument, "host:port"},
           Case{"127.0.0.1:1,127.0.0.1:2", absl::StatusCode::kInvalidArgument, "host:port"},
       }) {
    const auto server = HttpServer::Start(c.address, {});
    EXPECT_EQ(server.status().code(), c.code) << c.address;
    EXPECT_THAT(std::string(server.status().message()), HasSubstr(c.text)) << c.address;
  }
}

}  // namespace
}  // namespace ckptd
