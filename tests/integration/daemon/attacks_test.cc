// Attacks on a daemon that asks for tokens: each is refused with the right code
// and reason, and after each the daemon serves on.
#include <algorithm>
#include <filesystem>
#include <set>

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "daemon/access/rules.h"
#include "tests/integration/daemon/guarded.h"

namespace ckpt::test {
namespace {

class Attacks : public Guarded {
 protected:
  void RunAndCompare(const std::vector<Attack>& attacks) {
    Run(attacks);
    const std::string log =
        daemon_.process().Output() + ReadFile(daemon_.data_dir() + "/audit.log");
    for (const auto& [whose, text] : tokens_) {
      EXPECT_EQ(log.find(text.substr(text.rfind('_') + 1)), std::string::npos)
          << "a log has the secret of " << whose;
    }
  }
};

TEST_F(Attacks, NoTokenOrWhatIsNone) { RunAndCompare(TokenAttacks()); }

TEST_F(Attacks, ARoleThatIsTooLow) {
  const std::string before = Everything();
  RunAndCompare(RoleAttacks());
  EXPECT_EQ(Everything(), before);
}

TEST_F(Attacks, WhatAnotherProjectHas) { RunAndCompare(ProjectAttacks()); }

// No path is built of a name that somebody sent: nothing of that name appears,
// neither among the daemon's files nor beside them.
TEST_F(Attacks, PathsAsNames) {
  RunAndCompare(NameAttacks());
  // Where such names are allowed they are names and no more.
  auto client = ConnectAs("alice/write");
  const RunName run{"alice", "evil"};
  const uint64_t attempt = OpenAttempt(*client, run);
  const Shard shard = MakeShard({{"../../evil", 1, 5000}, {"/tmp/evil", 2, 5000}});
  const auto pushed = PushShard(*client, run, attempt, 1, shard);
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(FetchShard(*client, pushed->checkpoint->id), shard.bytes);
  EXPECT_TRUE(client->SetAlias(run, "a/../../evil", pushed->checkpoint->id).ok());
  EXPECT_TRUE(client->Pin(run, pushed->checkpoint->id, "a/../../evil").ok());
  int files = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(dir_.path())) {
    ++files;
    EXPECT_EQ(file.path().string().find("evil"), std::string::npos) << file.path();
  }
  EXPECT_GT(files, 5);
  EXPECT_FALSE(std::filesystem::exists("/tmp/evil"));
}

TEST_F(Attacks, MoreThanThereMayBe) { RunAndCompare(SizeAttacks()); }

TEST_F(Attacks, OutOfOrderAgainOrOvertaken) { RunAndCompare(StreamAttacks()); }

TEST_F(Attacks, TlsWhereThereIsNone) { RunAndCompare(PlainAttacks()); }

TEST(AttackTable, HasManyRowsEachOnce) {
  std::set<std::string> rows;
  for (const auto& attacks : {TokenAttacks(), RoleAttacks(), ProjectAttacks(), NameAttacks(),
                              SizeAttacks(), StreamAttacks(), TlsAttacks(), PlainAttacks()}) {
    for (const Attack& attack : attacks) {
      EXPECT_TRUE(rows.insert(attack.what).second) << attack.what;
    }
  }
  EXPECT_GE(rows.size(), 400u);
}

// The other half: what is allowed is not refused.
TEST_F(Guarded, EveryRoleMayWhatItMay) {
  ASSERT_EQ(GoodRequests().size(), Methods().size());
  // The one that takes a token away comes last.
  auto methods = Methods();
  std::ranges::stable_partition(methods,
                                [](const auto* method) { return method->name() != "RevokeToken"; });
  for (const auto* method : methods) {
    const ckptd::Rule& rule = *ckptd::FindRule(method->name());
    for (const Role role : {Role::kRead, Role::kWrite, Role::kAdmin}) {
      for (const char* scope : {"alice", "all"}) {
        const std::string whose = fmt::format("{}/{}", scope, RoleName(role));
        SCOPED_TRACE(fmt::format("{} by {}", method->name(), whose));
        const absl::Status status =
            CallAs(whose, method->name(), GoodRequests().at(method->name()), alice_.words).status;
        EXPECT_NE(status.code(), absl::StatusCode::kUnauthenticated) << status;
        const bool may = role >= rule.role && !(rule.for_all && std::string(scope) == "alice");
        EXPECT_EQ(status.code() != absl::StatusCode::kPermissionDenied, may) << status;
      }
    }
  }
}

TEST_F(Guarded, AListWithoutAProjectIsOfTheTokensProject) {
  const auto runs = [&](const std::string& whose) {
    std::set<std::string> names;
    const auto listed = ConnectAs(whose)->ListRuns();
    EXPECT_TRUE(listed.ok()) << listed.status();
    for (const ckpt::Run& run : *listed) names.insert(run.name.ToString());
    return names;
  };
  EXPECT_EQ(runs("alice/read"), (std::set<std::string>{"alice/r"}));
  EXPECT_EQ(runs("bob/read"), (std::set<std::string>{"bob/r"}));
  EXPECT_EQ(runs("all/read"), (std::set<std::string>{"alice/r", "bob/r"}));
  const auto tokens = ConnectAs("alice/admin")->ListTokens();
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->size(), 3u);
  for (const ckpt::Token& token : *tokens) EXPECT_EQ(token.project, "alice");
}

TEST_F(Guarded, AWholeJobRunsOnAWritersToken) {
  auto client = ConnectAs("alice/write");
  const RunName run{"alice", "job"};
  const uint64_t attempt = OpenAttempt(*client, run);
  const Shard shard = MakeShard({{"a", 21, 5 * kMiB}, {"b", 22, 100000}});
  const auto pushed = PushShard(*client, run, attempt, 1, shard);
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(FetchShard(*client, pushed->checkpoint->id), shard.bytes);
  auto reader = ConnectAs("alice/read");
  EXPECT_EQ(FetchShard(*reader, pushed->checkpoint->id), shard.bytes);
  EXPECT_TRUE(reader->Verify(run, 0, nullptr).ok());
}

TEST_F(Guarded, HealthIsOpenToEverybody) {
  const Reply reply = CallRaw(channel_, "/grpc.health.v1.Health/Check", {""});
  EXPECT_TRUE(reply.status.ok()) << reply.status;
}

}  // namespace
}  // namespace ckpt::test
