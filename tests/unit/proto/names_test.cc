#include "proto/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/limits.h"

namespace ckpt {
namespace {

using testing::HasSubstr;

const std::string kLongest(kMaxNameBytes, 'x');
const std::string kTooLong(kMaxNameBytes + 1, 'x');
const std::string kTenKilobytes(10000, 'x');

// One clear line of bounded length, whatever was put in.
void ExpectRefused(const absl::Status& status, const std::string& input) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << Printable(input);
  EXPECT_FALSE(ReasonOf(status).empty()) << Printable(input);
  const std::string message(status.message());
  EXPECT_FALSE(message.empty()) << Printable(input);
  EXPECT_LT(message.size(), 400u) << message;
  for (unsigned char c : message) {
    EXPECT_TRUE(c >= 0x20 && c != 0x7F) << "control character in the error on " << Printable(input);
  }
}

struct NameCase {
  std::string name;
  bool is_name, is_label, is_alias;
};

TEST(Names, WhatMayBeAName) {
  for (const NameCase& c : {
           NameCase{"run", true, true, true},
           NameCase{"R", true, true, true},
           NameCase{"gpt2-small_v1.3", true, true, true},
           NameCase{"7b", true, true, true},
           NameCase{kLongest, true, true, true},
           NameCase{"a..b", true, true, true},
           NameCase{"val/loss", false, true, true},
           NameCase{"latest/x", false, true, true},
           // What a selector reads otherwise.
           NameCase{"latest", true, true, false},
           NameCase{"best", true, true, false},
           NameCase{"123", true, true, false},
           NameCase{"0", true, true, false},
           // What nobody takes.
           NameCase{"", false, false, false},
           NameCase{kTooLong, false, false, false},
           NameCase{kTenKilobytes, false, false, false},
           NameCase{".", false, false, false},
           NameCase{"..", false, false, false},
           NameCase{".hidden", false, false, false},
           NameCase{"../x", false, false, false},
           NameCase{"/x", false, false, false},
           NameCase{"-x", false, false, false},
           NameCase{"_x", false, false, false},
           NameCase{"a b", false, false, false},
           NameCase{"a@b", false, false, false},
           NameCase{"a:b", false, false, false},
           NameCase{"a\\b", false, false, false},
           NameCase{"a\nb", false, false, false},
           NameCase{"a\x1b[31mb", false, false, false},
           NameCase{std::string("a\0b", 3), false, false, false},
           NameCase{"a\x7f", false, false, false},
           NameCase{"läufe", false, false, false},
           NameCase{"run\xff", false, false, false},
           NameCase{"模型", false, false, false},
       }) {
    SCOPED_TRACE(Printable(c.name));
    const absl::Status name = CheckName("run name", c.name);
    const absl::Status label = CheckLabelName("pin", c.name);
    const absl::Status alias = CheckAlias(c.name);
    EXPECT_EQ(name.ok(), c.is_name) << name;
    EXPECT_EQ(label.ok(), c.is_label) << label;
    EXPECT_EQ(alias.ok(), c.is_alias) << alias;
    if (!c.is_name) ExpectRefused(name, c.name);
    if (!c.is_label) ExpectRefused(label, c.name);
    if (!c.is_alias) ExpectRefused(alias, c.name);
  }
}

TEST(Names, AnErrorSaysWhatWasNamed) {
  EXPECT_THAT(std::string(CheckName("run name", "../x").message()), HasSubstr("run name"));
  EXPECT_THAT(std::string(CheckName("run name", "../x").message()), HasSubstr("../x"));
  EXPECT_THAT(std::string(CheckLabelName("pin", "").message()), HasSubstr("pin"));
  EXPECT_EQ(ReasonOf(CheckName("run name", "")), reason::kBadName);
}

TEST(Names, WhatMayBeAnEntryName) {
  struct Case {
    std::string name;
    bool ok;
  };
  for (const Case& c : {
           Case{"model.layers.0.weight", true},
           Case{"../x", true},  // never part of a path
           Case{"a b/c:d@e", true},
           Case{"gewichte.größe", true},
           Case{"模型", true},
           Case{"\xf0\x9f\x98\x80", true},
           Case{std::string(kMaxEntryNameBytes, 'x'), true},
           Case{"", false},
           Case{std::string(kMaxEntryNameBytes + 1, 'x'), false},
           Case{kTenKilobytes, false},
           Case{"a\nb", false},
           Case{"a\tb", false},
           Case{std::string("a\0b", 3), false},
           Case{"a\x7f", false},
           Case{"a\xc2\x9b"
                "31m",
                false},                      // U+009B: CSI to a terminal
           Case{"a\xff", false},             // no UTF-8 at all
           Case{"a\xc3", false},             // cut in the middle
           Case{"\xc0\xaf", false},          // overlong /
           Case{"\xe0\x80\xaf", false},      // overlong, three bytes
           Case{"\xed\xa0\x80", false},      // a surrogate
           Case{"\xf4\x90\x80\x80", false},  // past U+10FFFF
       }) {
    const absl::Status status = CheckEntryName(c.name);
    EXPECT_EQ(status.ok(), c.ok) << Printable(c.name) << ": " << status;
    if (!c.ok) ExpectRefused(status, c.name);
  }
}

TEST(Names, RunNamesAreReadFromText) {
  struct Case {
    const char* text;
    const char* project;
    const char* run;
  };
  for (const Case& c : {
           Case{"run", "default", "run"},
           Case{"team/run", "team", "run"},
           Case{"default/run", "default", "run"},
           Case{"7b/7", "7b", "7"},
       }) {
    const auto run = ParseRunName(c.text);
    ASSERT_TRUE(run.ok()) << c.text << ": " << run.status();
    EXPECT_EQ(*run, (RunName{c.project, c.run})) << c.text;
    EXPECT_EQ(*ParseRunName(run->ToString()), *run) << c.text;
  }
  for (const std::string& bad :
       {std::string(), std::string("/"), std::string("/run"), std::string("team/"),
        std::string("a/b/c"), std::string("../x"), std::string("team/../x"), std::string("a b"),
        kTenKilobytes, kTenKilobytes + "/run", std::string("run\n"), std::string("läufe")}) {
    ExpectRefused(ParseRunName(bad).status(), bad);
  }
}

TEST(Names, CheckpointsAreReadFromText) {
  struct Case {
    const char* text;
    const char* run;
    std::optional<Selector> selector;
  };
  for (const Case& c : {
           Case{"run", "run", std::nullopt},
           Case{"team/run", "team/run", std::nullopt},
           Case{"run@latest", "run", SelectLatest{}},
           Case{"run@best", "run", SelectBest{}},
           Case{"run@best:val_loss", "run", SelectBest{"val_loss"}},
           Case{"run@best:eval/loss", "run", SelectBest{"eval/loss"}},
           Case{"run@step:1000", "run", SelectStep{1000}},
           Case{"run@1000", "run", SelectStep{1000}},
           Case{"run@0", "run", SelectStep{0}},
           Case{"run@007", "run", SelectStep{7}},
           Case{"run@18446744073709551615", "run", SelectStep{UINT64_MAX}},
           Case{"run@id:42", "run", SelectId{42}},
           Case{"run@prod", "run", SelectAlias{"prod"}},
           Case{"run@1.0", "run", SelectAlias{"1.0"}},
           Case{"team/run@release/v1", "team/run", SelectAlias{"release/v1"}},
       }) {
    const auto ref = ParseCheckpointRef(c.text);
    ASSERT_TRUE(ref.ok()) << c.text << ": " << ref.status();
    EXPECT_EQ(ref->run.ToString(), c.run) << c.text;
    EXPECT_EQ(ref->selector, c.selector) << c.text;
    if (ref->selector) {
      EXPECT_EQ(*ParseSelector(ToString(*ref->selector)), *ref->selector) << c.text;
    }
  }
}

TEST(Names, WhatIsNoCheckpointIsRefused) {
  for (const std::string& bad : {std::string(),
                                 std::string("@"),
                                 std::string("@latest"),
                                 std::string("run@"),
                                 std::string("run@best:"),
                                 std::string("run@best:a b"),
                                 std::string("run@step:"),
                                 std::string("run@step:-1"),
                                 std::string("run@step:1x"),
                                 std::string("run@step:0x10"),
                                 std::string("run@step: 1"),
                                 std::string("run@18446744073709551616"),
                                 std::string("run@step:18446744073709551616"),
                                 std::string("run@id:"),
                                 std::string("run@id:x"),
                                 std::string("run@-1"),
                                 std::string("run@../x"),
                                 std::string("run@a@b"),
                                 std::string("run@a\nb"),
                                 std::string("run@prod "),
                                 "run@" + kTenKilobytes,
                                 "run@" + std::string(10000, '9'),
                                 "run@step:" + kTenKilobytes,
                                 std::string("../x@latest"),
                                 std::string("run@tag:x")}) {
    ExpectRefused(ParseCheckpointRef(bad).status(), bad);
  }
}

TEST(Printable, IsSafeOnATerminal) {
  struct Case {
    std::string text;
    const char* shown;
  };
  for (const Case& c : {
           Case{"", ""},
           Case{"plain", "plain"},
           Case{"größe", "größe"},
           Case{"a\nb", "a\\x0ab"},
           Case{"\x1b[2J", "\\x1b[2J"},
           Case{"a\x7f", "a\\x7f"},
           Case{"\xc2\x9b"
                "2J",
                "\\xc2\\x9b2J"},
           Case{std::string("\0", 1), "\\x00"},
           Case{"\xff\xc3", "\\xff\\xc3"},
       }) {
    EXPECT_EQ(Printable(c.text), c.shown);
  }
  EXPECT_EQ(Printable("abcdef", 3), "abc...");
  EXPECT_EQ(Printable("abc", 3), "abc");
  EXPECT_LT(Printable(kTenKilobytes).size(), 100u);
}

}  // namespace
}  // namespace ckpt
