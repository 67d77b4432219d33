// Tokens over a catalog of their own, with a clock that is set.
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/access/secret.h"
#include "daemon/access/tokens.h"
#include "tests/testing/fake_clock.h"
#include "tests/testing/process.h"
#include "tests/testing/temp_dir.h"

namespace ckptd {
namespace {

using ckpt::Role;

class TokensTest : public testing::Test {
 protected:
  void SetUp() override { Open(); }
  void Open() {
    tokens_.reset();
    auto catalog = catalog::Catalog::Open(path_);
    ASSERT_TRUE(catalog.ok()) << catalog.status();
    catalog_ = *std::move(catalog);
    tokens_ = std::make_unique<Tokens>(catalog_.get(), &clock_);
  }
  Tokens::Made Make(const ckpt::TokenSpec& spec, const std::string& request = "") {
    auto made = tokens_->Create(spec, "", request);
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? *std::move(made) : Tokens::Made{};
  }
  std::string WhyNot(const std::string& text) {
    const absl::Status status = tokens_->Recognize(text).status();
    return status.ok() ? "OK" : ckpt::ReasonOf(status);
  }
  ckpt::Token Listed(const std::string& id) {
    const auto page = tokens_->List(std::nullopt, true, 0, 1000);
    EXPECT_TRUE(page.ok()) << page.status();
    for (const ckpt::Token& token : page->tokens) {
      if (token.id == id) return token;
    }
    ADD_FAILURE() << "there is no token " << id;
    return {};
  }

  os::TempDir dir_;
  const std::string path_ = dir_ / "catalog.sqlite";
  os::FakeClock clock_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<Tokens> tokens_;
};

TEST_F(TokensTest, ATokenIsKnownWithItsProjectAndRoleAlsoAfterARestart) {
  const Tokens::Made made = Make({.name = "gpu-1", .project = "vision", .role = Role::kWrite});
  for (int i = 0; i < 2; ++i) {
    const auto caller = tokens_->Recognize(made.text);
    ASSERT_TRUE(caller.ok()) << caller.status();
    EXPECT_EQ(caller->token_id, made.token.id);
    EXPECT_EQ(caller->token_name, "gpu-1");
    EXPECT_EQ(caller->role, Role::kWrite);
    EXPECT_TRUE(caller->Covers("vision"));
    EXPECT_FALSE(caller->Covers("default"));
    EXPECT_FALSE(caller->Covers(""));
    Open();
  }
  const Tokens::Made all = Make({.name = "root", .role = Role::kAdmin});
  EXPECT_TRUE(tokens_->Recognize(all.text)->Covers("anything"));
}

TEST_F(TokensTest, WhatIsWrongWithATokenIsNotTold) {
  const Tokens::Made made = Make({.name = "a", .role = Role::kRead});
  const Tokens::Made other = Make({.name = "b", .role = Role::kRead});
  const Tokens::Made revoked = Make({.name = "c", .role = Role::kRead});
  const Tokens::Made expired =
      Make({.name = "d", .role = Role::kRead, .lifetime = absl::Minutes(1)});
  EXPECT_EQ(WhyNot(expired.text), "OK");
  ASSERT_TRUE(tokens_->Revoke(revoked.token.id).ok());
  clock_.Advance(absl::Minutes(1));
  const std::string unknown = NewTokenText()->ToString();
  const std::string mixed = TokenText{made.token.id, ParseTokenText(other.text)->secret}.ToString();
  std::string words;
  for (const std::string& text :
       {std::string("x"), unknown, mixed, revoked.text, expired.text, std::string()}) {
    const absl::Status status = tokens_->Recognize(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << text;
    EXPECT_EQ(ckpt::ReasonOf(status), ckpt::reason::kTokenInvalid) << text;
    if (words.empty()) words = std::string(status.message());
    EXPECT_EQ(std::string(status.message()), words) << text;
  }
  EXPECT_EQ(WhyNot(made.text), "OK");
}

TEST_F(TokensTest, ARevokedTokenEndsWhatItBegan) {
  const Tokens::Made made = Make({.name = "a", .role = Role::kRead});
  const Tokens::Made other = Make({.name = "b", .role = Role::kRead});
  Caller caller = *tokens_->Recognize(made.text);
  Caller stays = *tokens_->Recognize(other.text);
  EXPECT_TRUE(tokens_->CheckAgain(caller).ok());
  const auto revoked = tokens_->Revoke(made.token.id);
  ASSERT_TRUE(revoked.ok());
  EXPECT_EQ(ckpt::ReasonOf(tokens_->CheckAgain(caller)), ckpt::reason::kTokenInvalid);
  EXPECT_TRUE(tokens_->CheckAgain(stays).ok());
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(tokens_->Revoke(made.token.id)->revoked_at, revoked->revoked_at);  // again: the same
  EXPECT_EQ(ckpt::ReasonOf(tokens_->Revoke("0123").status()), ckpt::reason::kTokenNotFound);
}

TEST_F(TokensTest, AnExpiredTokenEndsWhatItBegan) {
  const Tokens::Made made = Make({.name = "a", .role = Role::kRead, .lifetime = absl::Hours(1)});
  Caller caller = *tokens_->Recognize(made.text);
  clock_.Advance(absl::Hours(1) - absl::Nanoseconds(1));
  EXPECT_TRUE(tokens_->CheckAgain(caller).ok());
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_EQ(ckpt::ReasonOf(tokens_->CheckAgain(caller)), ckpt::reason::kTokenInvalid);
  Caller anybody;
  EXPECT_TRUE(tokens_->CheckAgain(anybody).ok());
}

TEST_F(TokensTest, ListsThoseOfAProjectPageByPageAndTheEndedOnesOnRequest) {
  for (int i = 0; i < 5; ++i) {
    Make({.name = std::to_string(i), .project = i % 2 == 0 ? "even" : "odd", .role = Role::kRead});
  }
  Make({.name = "root", .role = Role::kAdmin});
  ASSERT_TRUE(
      tokens_->Revoke(Make({.name = "gone", .project = "even", .role = Role::kRead}).token.id)
          .ok());
  Make({.name = "old", .project = "even", .role = Role::kRead, .lifetime = absl::Seconds(1)});
  clock_.Advance(absl::Seconds(1));
  const auto names = [&](const std::optional<std::string>& project, bool ended) {
    std::vector<std::string> all;
    for (uint64_t before = 0;;) {
      const auto page = tokens_->List(project, ended, before, 2);
      EXPECT_TRUE(page.ok()) << page.status();
      for (const ckpt::Token& token : page->tokens) all.push_back(token.name);
      before = page->next;
      if (before == 0) return all;
    }
  };
  EXPECT_THAT(names(std::nullopt, false), testing::ElementsAre("root", "4", "3", "2", "1", "0"));
  EXPECT_THAT(names("even", false), testing::ElementsAre("4", "2", "0"));
  EXPECT_THAT(names("even", true), testing::ElementsAre("old", "gone", "4", "2", "0"));
  EXPECT_THAT(names("none", true), testing::IsEmpty());
}

TEST_F(TokensTest, TellsWhenATokenWasLastUsedAlsoAfterARestart) {
  const Tokens::Made made = Make({.name = "a", .role = Role::kRead});
  EXPECT_EQ(Listed(made.token.id).last_used_at, std::nullopt);
  clock_.Advance(absl::Hours(3));
  ASSERT_TRUE(tokens_->Recognize(made.text).ok());
  const absl::Time used = clock_.Now();
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(Listed(made.token.id).last_used_at, used);
  Open();
  EXPECT_EQ(Listed(made.token.id).last_used_at, used);
}

TEST_F(TokensTest, ACallMadeAgainMakesNoSecondToken) {
  const ckpt::TokenSpec spec = {
      .name = "a", .project = "p", .role = Role::kWrite, .lifetime = absl::Hours(1)};
  const Tokens::Made first = Make(spec, "call-1");
  clock_.Advance(absl::Seconds(7));
  const Tokens::Made again = Make(spec, "call-1");
  EXPECT_EQ(again.token.id, first.token.id);
  EXPECT_EQ(again.token.expires_at, first.token.expires_at);
  EXPECT_NE(again.text, first.text);
  EXPECT_EQ(WhyNot(first.text), ckpt::reason::kTokenInvalid);  // its answer was lost
  EXPECT_EQ(tokens_->List(std::nullopt, true, 0, 10)->tokens.size(), 1u);

  ckpt::TokenSpec other = spec;
  other.role = Role::kAdmin;
  EXPECT_EQ(ckpt::ReasonOf(tokens_->Create(other, "", "call-1").status()),
            ckpt::reason::kRequestIdReused);
  EXPECT_EQ(ckpt::ReasonOf(tokens_->Create(spec, "somebody", "call-1").status()),
            ckpt::reason::kRequestIdReused);
  EXPECT_EQ(WhyNot(again.text), "OK");
  // In use: nobody takes it over.
  EXPECT_EQ(ckpt::ReasonOf(tokens_->Create(spec, "", "call-1").status()),
            ckpt::reason::kRequestIdReused);
  Open();
  EXPECT_EQ(ckpt::ReasonOf(tokens_->Create(spec, "", "call-1").status()),
            ckpt::reason::kRequestIdReused);
  EXPECT_NE(Make(spec, "call-2").token.id, first.token.id);
}

TEST_F(TokensTest, KnowsWhetherSomebodyCouldMakeTokens) {
  EXPECT_FALSE(*tokens_->HasAdmin());
  Make({.name = "a", .project = "p", .role = Role::kAdmin});
  Make({.name = "b", .role = Role::kWrite});
  EXPECT_FALSE(*tokens_->HasAdmin());
  const Tokens::Made root = Make({.name = "c", .role = Role::kAdmin});
  EXPECT_TRUE(*tokens_->HasAdmin());
  ASSERT_TRUE(tokens_->Revoke(root.token.id).ok());
  EXPECT_FALSE(*tokens_->HasAdmin());
}

TEST_F(TokensTest, NoSecretIsInTheFile) {
  const Tokens::Made made = Make({.name = "a", .role = Role::kRead}, "call");
  ASSERT_TRUE(tokens_->Recognize(made.text).ok());
  const std::string secret = ParseTokenText(made.text)->secret;
  tokens_.reset();
  catalog_.reset();
  const std::string bytes = ckpt::test::ReadFile(path_) + ckpt::test::ReadFile(path_ + "-wal");
  EXPECT_NE(bytes.find(made.token.id), std::string::npos);
  EXPECT_EQ(bytes.find(secret), std::string::npos);
  EXPECT_EQ(bytes.find(secret.substr(0, 16)), std::string::npos);
}

}  // namespace
}  // namespace ckptd
