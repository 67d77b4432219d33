// TLS as it should be: who may connect does, files are taken anew when they
// change, and what cannot be served with is said at the start.
#include <sys/stat.h>

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/daemon/guarded.h"
#include "tests/integration/daemon/pki.h"
#include "tests/testing/programs.h"

namespace ckpt::test {
namespace {

using testing::HasSubstr;
using testing::Not;

class MutualTls : public Guarded {
 protected:
  MutualTls()
      : Guarded({"--tls-cert", Pki::Get().Cert("server"), "--tls-key", Pki::Get().Key("server"),
                 "--tls-client-ca", Pki::Get().Ca()},
                {.ca = Pki::Get().Ca(),
                 .cert = Pki::Get().Cert("client"),
                 .key = Pki::Get().Key("client")}) {}
};

TEST_F(MutualTls, WhoMayNotConnectDoesNot) { Run(TlsAttacks()); }

TEST_F(MutualTls, AWholeJobRunsOverIt) {
  auto client = ConnectAs("alice/write");
  const RunName run{"alice", "job"};
  const Shard shard = MakeShard({{"a", 31, 9 * kMiB}, {"b", 32, 100000}});
  const auto pushed = PushShard(*client, run, OpenAttempt(*client, run), 1, shard);
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(FetchShard(*client, pushed->checkpoint->id), shard.bytes);
}

// A daemon with a certificate of its own folder, without tokens.
class Tls : public testing::Test {
 protected:
  // What a client that trusts `ca` comes to.
  absl::Status Ask(const std::string& ca) {
    ClientOptions options;
    options.address = daemon_.address();
    options.retry.window = absl::ZeroDuration();
    options.credentials.tls.ca = ca;
    auto client = Client::Connect(options);
    EXPECT_TRUE(client.ok()) << client.status();
    return (*client)->GetStats().status();
  }

  ckptd::os::TempDir dir_;
  const std::string cert_ = dir_ / "cert.pem", key_ = dir_ / "key.pem";
  Daemon daemon_{kCkptd, dir_ / "data", {"--tls-cert", cert_, "--tls-key", key_}};
};

TEST_F(Tls, NewFilesAreTakenWithoutARestart) {
  const Authority first("first"), second("second");
  const std::string first_ca = dir_ / "first.pem", second_ca = dir_ / "second.pem";
  Pki::Write(first_ca, first.cert());
  Pki::Write(second_ca, second.cert());
  Pki::Write(cert_, key_, first.Issue());
  ASSERT_TRUE(daemon_.Start());
  EXPECT_TRUE(Ask(first_ca).ok()) << Ask(first_ca);
  const absl::Status stranger = Ask(second_ca);
  EXPECT_EQ(ReasonOf(stranger), reason::kUnreachable) << stranger;
  Pki::Write(cert_, key_, second.Issue());
  EXPECT_TRUE(WaitUntil([&] { return Ask(second_ca).ok(); })) << Ask(second_ca);
  EXPECT_FALSE(Ask(first_ca).ok());
}

TEST_F(Tls, WhatCannotBeServedWithIsOneSentenceAtTheStart) {
  const auto& pki = Pki::Get();
  Pki::Write(dir_ / "garbage", "-----BEGIN CERTIFICATE-----\nnonsense\n");
  Pki::Write(dir_ / "empty", "");
  struct Row {
    const char* what;
    std::vector<std::string> flags;
    const char* says;
  };
  const std::string server = pki.Cert("server"), key = pki.Key("server");
  for (const Row& row : std::vector<Row>{
           {"no key", {"--tls-cert", server}, "takes both tls-cert and tls-key"},
           {"no certificate", {"--tls-key", key}, "takes both tls-cert and tls-key"},
           {"a client CA alone", {"--tls-client-ca", pki.Ca()}, "takes both"},
           {"no such file", {"--tls-cert", dir_ / "none", "--tls-key", key}, "No such file"},
           {"a folder", {"--tls-cert", dir_.path(), "--tls-key", key}, "tls-cert"},
           {"garbage", {"--tls-cert", dir_ / "garbage", "--tls-key", key}, "no certificate"},
           {"nothing", {"--tls-cert", dir_ / "empty", "--tls-key", key}, "no certificate"},
           {"a key as certificate", {"--tls-cert", key, "--tls-key", key}, "no certificate"},
           {"a certificate as key", {"--tls-cert", server, "--tls-key", server}, "no private key"},
           {"another one's key",
            {"--tls-cert", server, "--tls-key", pki.Key("client")},
            "is not the key of the certificate"},
           {"expired",
            {"--tls-cert", pki.Cert("expired"), "--tls-key", pki.Key("expired")},
            "has expired"},
           {"not valid yet",
            {"--tls-cert", pki.Cert("early"), "--tls-key", pki.Key("early")},
            "is not valid yet"},
           {"a client CA that is none",
            {"--tls-cert", server, "--tls-key", key, "--tls-client-ca", dir_ / "garbage"},
            "tls-client-ca"},
           {"TLS without tokens, for the network",
            {"--tls-cert", server, "--tls-key", key, "--listen", "0.0.0.0:0"},
            "set auth to tokens"},
           {"tokens without TLS, for the network",
            {"--auth", "tokens", "--listen", "0.0.0.0:0"},
            "set tls-cert and tls-key"},
           {"neither, for the network",
            {"--listen", "[::]:0"},
            "set auth to tokens, tls-cert and tls-key"},
       }) {
    SCOPED_TRACE(row.what);
    std::vector<std::string> command = {kCkptd, "--data-dir", dir_ / "other"};
    if (std::ranges::find(row.flags, "--listen") == row.flags.end()) {
      command.insert(command.end(), {"--listen", "127.0.0.1:0"});
    }
    command.insert(command.end(), row.flags.begin(), row.flags.end());
    const std::string log = dir_ / "start.log";
    std::filesystem::remove(log);
    Process process(command, log);
    EXPECT_EQ(process.Wait().code, 1) << process.Output();
    const std::string output = process.Output();
    EXPECT_THAT(output, HasSubstr(row.says));
    EXPECT_THAT(output, Not(HasSubstr("serves")));
  }
}

TEST_F(Tls, WithBothTheNetworkMayBeServed) {
  Pki::Write(cert_, key_, Pki::Get().authority().Issue());
  Daemon open(
      kCkptd, dir_ / "open",
      {"--listen", "0.0.0.0:0", "--auth", "tokens", "--tls-cert", cert_, "--tls-key", key_});
  EXPECT_TRUE(open.Start());
  EXPECT_EQ(open.process().Output().find("open to the network"), std::string::npos)
      << open.process().Output();
}

TEST_F(Tls, AUnixSocketHasNone) {
  Pki::Write(cert_, key_, Pki::Get().authority().Issue());
  const std::string socket = "unix:" + dir_ / "s";
  Daemon both(kCkptd, dir_ / "both", {"--listen", socket, "--tls-cert", cert_, "--tls-key", key_});
  ASSERT_TRUE(both.Start());
  auto client = Connect(socket);
  EXPECT_TRUE(client->GetStats().ok()) << client->GetStats().status();
}

}  // namespace
}  // namespace ckpt::test
