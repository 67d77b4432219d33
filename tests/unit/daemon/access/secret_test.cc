#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/access/secret.h"

namespace ckptd {
namespace {

const std::string kId(16, 'a');
const std::string kSecret(64, '0');

TEST(Secret, ATextIsReadAsItWasWritten) {
  const auto text = NewTokenText();
  ASSERT_TRUE(text.ok()) << text.status();
  const auto parsed = ParseTokenText(text->ToString());
  ASSERT_TRUE(parsed.has_value()) << text->ToString();
  EXPECT_EQ(parsed->id, text->id);
  EXPECT_EQ(parsed->secret, text->secret);
  EXPECT_THAT(text->ToString(), testing::MatchesRegex("ckpt_[0-9a-f]{16}_[0-9a-f]{64}"));
}

TEST(Secret, WhatIsNoTokenIsNotRead) {
  for (const std::string& text : {
           std::string(),
           std::string("ckpt_"),
           "ckpt_" + kId,
           "ckpt_" + kId + "_",
           "ckpt_" + kId + "_" + kSecret.substr(1),
           "ckpt_" + kId + "_" + kSecret + "0",
           "ckpt_" + kId.substr(1) + "_" + kSecret,
           "ckpt_" + kId + "a_" + kSecret,
           "ckpt_" + std::string(16, 'A') + "_" + kSecret,
           "ckpt_" + std::string(16, 'g') + "_" + kSecret,
           "CKPT_" + kId + "_" + kSecret,
           kId + "_" + kSecret,
           " ckpt_" + kId + "_" + kSecret,
           "ckpt_" + kId + "_" + kSecret + "\n",
           "ckpt_" + kId + "_" + kSecret.substr(1) + std::string(1, '\0'),
           "ckpt_../../../../../a_" + kSecret,
           "ckpt_" + kId + "'_" + kSecret,
           std::string(100000, 'a'),
       }) {
    EXPECT_FALSE(ParseTokenText(text).has_value()) << text.substr(0, 200);
  }
  EXPECT_TRUE(ParseTokenText("ckpt_" + kId + "_" + kSecret).has_value());
}

TEST(Secret, OnlyTheSecretItselfIsKnownAgain) {
  const auto kept = KeepSecret(kSecret);
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_TRUE(IsSecret(kSecret, *kept));
  EXPECT_FALSE(IsSecret("", *kept));
  EXPECT_FALSE(IsSecret(kSecret + "0", *kept));
  for (size_t i = 0; i < kSecret.size(); ++i) {
    std::string other = kSecret;
    other[i] = '1';
    EXPECT_FALSE(IsSecret(other, *kept)) << i;
  }
}

TEST(Secret, NothingKeptIsKnownByNothing) {
  EXPECT_FALSE(IsSecret(kSecret, {}));
  EXPECT_FALSE(IsSecret("", {}));
  EXPECT_FALSE(IsSecret(kSecret, {.salt = "salt", .hash = kSecret}));
}

TEST(Secret, TheSameSecretIsNeverKeptTheSame) {
  const auto one = KeepSecret(kSecret), other = KeepSecret(kSecret);
  EXPECT_NE(one->salt, other->salt);
  EXPECT_NE(one->hash, other->hash);
  EXPECT_EQ(one->hash.find(kSecret), std::string::npos);
  std::set<std::string> texts;
  for (int i = 0; i < 100; ++i) texts.insert(NewTokenText()->ToString());
  EXPECT_EQ(texts.size(), 100u);
}

}  // namespace
}  // namespace ckptd
