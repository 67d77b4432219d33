// Which addresses may be served on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/listen.h"
#include "proto/loopback.h"

namespace ckptd {
namespace {

TEST(Loopback, IsThisMachineAlone) {
  struct Case {
    const char* address;
    bool is;
  };
  for (const Case& c : {
           Case{"127.0.0.1:7420", true},
           Case{"127.255.0.9:1", true},
           Case{"localhost:1", true},
           Case{"[::1]:1", true},
           Case{"[0:0:0:0:0:0:0:1]:1", true},
           Case{"[::ffff:127.0.0.1]:1", true},
           Case{"unix:/run/ckptd.sock", true},
           Case{"0.0.0.0:1", false},
           Case{"[::]:1", false},
           Case{"10.0.0.1:1", false},
           Case{"128.0.0.1:1", false},
           Case{"[::ffff:10.0.0.1]:1", false},
           Case{"[fe80::1]:1", false},
           // Names that only look like it.
           Case{"127.example.com:1", false},
           Case{"127.0.0.1.example.com:1", false},
           Case{"127.:1", false},
           Case{"127.0.0.1x:1", false},
           Case{"localhost.example.com:1", false},
           Case{"LOCALHOST:1", false},
           Case{"[::1]evil:1", false},
           Case{":1", false},
       }) {
    EXPECT_EQ(ckpt::IsLoopback(c.address), c.is) << c.address;
  }
}

TEST(Listen, BeyondThisMachineOnlyOnPurpose) {
  Config config;
  EXPECT_TRUE(CheckListen("127.0.0.1:0", config).ok());
  for (const char* address : {"0.0.0.0:7420", "[::]:7420", "127.example.com:7420"}) {
    const absl::Status status = CheckListen(address, config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("--allow-remote")) << address;
  }
  config.allow_remote = true;
  EXPECT_TRUE(CheckListen("0.0.0.0:7420", config).ok());
}

TEST(Listen, WhatIsNoAddress) {
  const std::string path(200, 'p');
  for (const std::string& address :
       {std::string(), std::string("7420"), std::string(":7420"), std::string("host:"),
        std::string("host:port"), std::string("host:-1"), std::string("host:65536"),
        std::string("unix:"), "unix:" + path}) {
    EXPECT_EQ(CheckListen(address, {.allow_remote = true}).code(),
              absl::StatusCode::kInvalidArgument)
        << address;
  }
}

}  // namespace
}  // namespace ckptd
