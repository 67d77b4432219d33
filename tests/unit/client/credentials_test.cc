#include <filesystem>
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/credentials.h"
#include "tests/testing/temp_dir.h"

namespace ckpt {
namespace {

const std::string kToken = "ckpt_" + std::string(16, 'a') + "_" + std::string(64, '0');
constexpr char kLocal[] = "127.0.0.1:7420";
constexpr char kRemote[] = "gpu.example:7420";

class CredentialsTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = dir_ / name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
    return path;
  }
  absl::StatusOr<Credentials> Resolve(const CredentialOptions& given = {},
                                      const std::string& address = kLocal) {
    const GetEnv env = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = env_.find(name);
      if (found == env_.end()) return std::nullopt;
      return found->second;
    };
    return ResolveCredentials(given, address, env);
  }
  std::string Token(const CredentialOptions& given = {}) {
    const auto credentials = Resolve(given);
    EXPECT_TRUE(credentials.ok()) << credentials.status();
    return credentials.ok() ? credentials->token->Current() : "";
  }
  std::string Error(const CredentialOptions& given = {}, const std::string& address = kLocal) {
    const absl::Status status = Resolve(given, address).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }
  // Tokens that differ in their last digit.
  static std::string Nth(int n) { return kToken.substr(0, kToken.size() - 1) + std::to_string(n); }

  ckptd::os::TempDir dir_;
  std::map<std::string, std::string> env_ = {{"HOME", dir_ / "home"}};
};

TEST_F(CredentialsTest, WithoutAnyThereIsNoToken) { EXPECT_EQ(Token(), ""); }

TEST_F(CredentialsTest, TheCallerGoesOverTheEnvironmentOverTheFile) {
  Write("home/.config/ckptd/client.toml",
        "address = \"127.0.0.1:1\"\ntoken_file = \"" + Write("four", Nth(4) + "\n") + "\"\n");
  EXPECT_EQ(Token(), Nth(4));
  env_["CKPTD_TOKEN_FILE"] = Write("three", Nth(3));
  EXPECT_EQ(Token(), Nth(3));
  env_["CKPTD_TOKEN"] = Nth(2);
  EXPECT_EQ(Token(), Nth(2));
  EXPECT_EQ(Token({.token_file = Write("one", Nth(1) + " \r\n")}), Nth(1));
  EXPECT_EQ(Token({.token = Nth(0), .token_file = "/none"}), Nth(0));
}

TEST_F(CredentialsTest, WhatIsNoTokenIsRefusedAndNotRepeated) {
  for (const std::string& text :
       std::vector<std::string>{"hunter2", "ckpt_a b", "ckpt_a\nckpt_b", "ckpt_\x01",
                                "ckpt_" + std::string(300, 'a'), "Bearer ckpt_a_b"}) {
    const std::string error = Error({.token = text});
    EXPECT_THAT(error, testing::HasSubstr("holds no token")) << text;
    EXPECT_THAT(error, testing::Not(testing::HasSubstr(text))) << text;
    EXPECT_THAT(Error({.token_file = Write("bad", text)}), testing::HasSubstr("bad"));
  }
  EXPECT_THAT(Error({.token_file = dir_ / "none"}), testing::HasSubstr("No such file"));
  EXPECT_THAT(Error({.token_file = Write("empty", "")}), testing::HasSubstr("it is empty"));
  EXPECT_THAT(Error({.token_file = dir_.path()}), testing::HasSubstr("cannot be read"));
}

TEST_F(CredentialsTest, AFileThatChangesIsReadAgain) {
  const std::string path = Write("token", Nth(1));
  const auto credentials = Resolve({.token_file = path});
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  TokenSource& token = *credentials->token;
  EXPECT_EQ(token.Current(), Nth(1));
  Write("token", Nth(2) + "\n");
  EXPECT_EQ(token.Current(), Nth(2));
  // As mounted secrets are replaced: by another file of the same length.
  std::filesystem::rename(Write("new", Nth(3) + "\n"), path);
  EXPECT_EQ(token.Current(), Nth(3));
  // The one before goes on while there is none.
  Write("token", "");
  EXPECT_EQ(token.Current(), Nth(3));
  Write("token", "hunter2");
  EXPECT_EQ(token.Current(), Nth(3));
  std::filesystem::remove(path);
  EXPECT_EQ(token.Current(), Nth(3));
  Write("token", Nth(4));
  EXPECT_EQ(token.Current(), Nth(4));
}

TEST_F(CredentialsTest, ATokenGoesToAnotherMachineInTheClearOnlyOnPurpose) {
  EXPECT_THAT(Error({.token = kToken}, kRemote), testing::HasSubstr("in the clear"));
  EXPECT_TRUE(Resolve({.token = kToken, .tls = {.on = false}}, kRemote).ok());
  EXPECT_TRUE(Resolve({.token = kToken, .tls = {.on = true}}, kRemote).ok());
  EXPECT_TRUE(Resolve({.token = kToken}, "unix:/run/ckptd.sock").ok());
  EXPECT_TRUE(Resolve({}, kRemote).ok());
  // Names that only look like this machine.
  for (const char* address : {"127.0.0.1.example:1", "localhost.example:1", "127.evil:1"}) {
    EXPECT_THAT(Error({.token = kToken}, address), testing::HasSubstr("in the clear")) << address;
  }
  env_["CKPTD_TLS"] = "off";
  EXPECT_TRUE(Resolve({.token = kToken}, kRemote).ok());
  env_["CKPTD_TLS"] = "maybe";
  EXPECT_EQ(Error(), "tls is on or off, not \"maybe\"");
}

TEST_F(CredentialsTest, ACertificateAndItsKeyGoTogether) {
  const std::string pem = Write("some.pem", "-----BEGIN");
  EXPECT_THAT(Error({.tls = {.cert = pem}}), testing::HasSubstr("go together"));
  EXPECT_THAT(Error({.tls = {.key = pem}}), testing::HasSubstr("go together"));
  EXPECT_THAT(Error({.tls = {.ca = dir_ / "none"}}), testing::HasSubstr("tls_ca"));
  env_["CKPTD_TLS_CA"] = dir_ / "missing";
  EXPECT_THAT(Error(), testing::HasSubstr("missing"));
  EXPECT_TRUE(Resolve({.tls = {.on = false}}).ok());  // nothing is read
}

}  // namespace
}  // namespace ckpt
