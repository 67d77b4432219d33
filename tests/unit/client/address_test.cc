#include "client/address.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/limits.h"

namespace ckpt {
namespace {

using ::testing::HasSubstr;

TEST(CheckAddress, Table) {
  struct {
    std::string address;
    const char* error;  // null: good
  } const kCases[] = {
      {"127.0.0.1:7420", nullptr},
      {"localhost:1", nullptr},
      {"node-3.cluster.local:65535", nullptr},
      {"[::1]:7420", nullptr},
      {"unix:/run/ckptd/ckptd.sock", nullptr},
      {"unix:relative.sock", nullptr},
      {"", "empty"},
      {"localhost", "port is missing"},
      {":7420", "host is missing"},
      {"localhost:", "port is not"},
      {"localhost:0", "port is not"},
      {"localhost:65536", "port is not"},
      {"localhost:74x", "port is not"},
      {"localhost:-1", "port is not"},
      {"::1:7420", "brackets"},
      {"http://localhost:7420", "brackets"},
      {"a b:7420", "no name"},
      {"a/b:7420", "no name"},
      {"local\nhost:7420", "control character"},
      {"unix:", "path is missing"},
      {"unix:/" + std::string(200, 'x'), "longer than"},
  };
  for (const auto& c : kCases) {
    const absl::Status status = CheckAddress(c.address);
    if (c.error == nullptr) {
      EXPECT_TRUE(status.ok()) << c.address << ": " << status;
    } else {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.address;
      EXPECT_THAT(std::string(status.message()), HasSubstr(c.error)) << c.address;
    }
  }
}

class ResolveAddressTest : public ::testing::Test {
 protected:
  ResolveAddressTest() {
    std::string home = ::testing::TempDir() + "/home.XXXXXX";
    home_ = ::mkdtemp(home.data());
    env_["HOME"] = home_;
  }
  ~ResolveAddressTest() override { std::filesystem::remove_all(home_); }

  void WriteFile(const std::string& text) {
    std::filesystem::create_directories(home_ + "/.config/ckptd");
    std::ofstream(home_ + "/.config/ckptd/client.toml") << text;
  }
  absl::StatusOr<ResolvedAddress> Resolve(std::optional<std::string> flag = {}) {
    return ResolveAddress(flag, [this](const std::string& name) -> std::optional<std::string> {
      const auto found = env_.find(name);
      if (found == env_.end()) return std::nullopt;
      return found->second;
    });
  }

  std::string home_;
  std::map<std::string, std::string> env_;
};

TEST_F(ResolveAddressTest, FlagOverEnvironmentOverFileOverDefault) {
  EXPECT_EQ(Resolve()->address, kDefaultAddress);
  WriteFile("# where it is\n[client]\naddress = \"file:1\"  # here\n");
  EXPECT_EQ(Resolve()->address, "file:1");
  env_[kAddressVariable] = "env:2";
  EXPECT_EQ(Resolve()->address, "env:2");
  EXPECT_EQ(Resolve("flag:3")->address, "flag:3");
  EXPECT_EQ(Resolve("flag:3")->source, "the flag");
}

TEST_F(ResolveAddressTest, ReadsTheFileOfXdgConfigHome) {
  WriteFile("address='home:1'\n");
  env_["XDG_CONFIG_HOME"] = home_ + "/elsewhere";
  EXPECT_EQ(Resolve()->address, kDefaultAddress);
  std::filesystem::create_directories(home_ + "/elsewhere/ckptd");
  std::ofstream(home_ + "/elsewhere/ckptd/client.toml") << "address = \"unix:/x\"";
  EXPECT_EQ(Resolve()->address, "unix:/x");
}

TEST_F(ResolveAddressTest, SaysWhereABadOneCameFrom) {
  WriteFile("\naddress = localhost:1\n");
  EXPECT_THAT(std::string(Resolve().status().message()), HasSubstr("line 2"));
  env_[kAddressVariable] = "nonsense";
  EXPECT_THAT(std::string(Resolve().status().message()), HasSubstr(kAddressVariable));
}

TEST(Unreachable, IsOneSentenceWithTheAddress) {
  const absl::Status status = Unreachable("h:1", "refused\n");
  EXPECT_TRUE(HasReason(status, reason::kUnreachable));
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot reach ckptd at h:1: refused"));
  EXPECT_EQ(std::string(status.message()).find('\n'), std::string::npos);
}

}  // namespace
}  // namespace ckpt
