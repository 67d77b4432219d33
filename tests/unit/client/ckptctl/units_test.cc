#include "client/ckptctl/units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ckpt::ctl {
namespace {

using ::testing::HasSubstr;

TEST(ParseBytes, ReadsWhatPeopleWrite) {
  const std::pair<const char*, uint64_t> kCases[] = {
      {"0", 0},
      {"4096", 4096},
      {"4096B", 4096},
      {"1k", 1024},
      {"1KiB", 1024},
      {"1kB", 1000},
      {"50GiB", 50ull << 30},
      {"50 GiB", 50ull << 30},
      {"1.5G", 3ull << 29},
      {"2TB", 2'000'000'000'000},
      {"  7M ", 7u << 20},
      {"18446744073709551615", std::numeric_limits<uint64_t>::max()},
  };
  for (const auto& [text, bytes] : kCases) {
    SCOPED_TRACE(text);
    const auto parsed = ParseBytes(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, bytes);
  }
}

TEST(ParseBytes, RefusesNonsenseAndNamesIt) {
  for (const char* text : {"", "GiB", "-1", "1.2.3", "5 parsecs", "1e3", "inf", "nan", "0x10",
                           "1GiBB", "1 0", "17E", "99999999999999999999", "."}) {
    SCOPED_TRACE(text);
    const auto parsed = ParseBytes(text);
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(text));
  }
}

TEST(FormatBytes, IsShortAndNeverShows1024) {
  const std::pair<uint64_t, const char*> kCases[] = {
      {0, "0 B"},
      {1, "1 B"},
      {1023, "1023 B"},
      {1024, "1.0 KiB"},
      {1536, "1.5 KiB"},
      {(1u << 20) - 1, "1.0 MiB"},
      {12ull << 30, "12.0 GiB"},
      {std::numeric_limits<uint64_t>::max(), "16.0 EiB"},
  };
  for (const auto& [bytes, text] : kCases) EXPECT_EQ(FormatBytes(bytes), text);
}

TEST(FormatBytesExact, ReadsBack) {
  for (uint64_t bytes : {uint64_t{1}, uint64_t{1000}, uint64_t{1024}, uint64_t{50} << 30,
                         (uint64_t{50} << 30) + 1, std::numeric_limits<uint64_t>::max()}) {
    EXPECT_EQ(*ParseBytes(FormatBytesExact(bytes)), bytes) << FormatBytesExact(bytes);
  }
}

TEST(ParseDuration, ReadsWhatPeopleWrite) {
  const std::pair<const char*, absl::Duration> kCases[] = {
      {"0", absl::ZeroDuration()}, {"90s", absl::Seconds(90)}, {"500ms", absl::Milliseconds(500)},
      {"30m", absl::Minutes(30)},  {"2h", absl::Hours(2)},     {"1h30m", absl::Minutes(90)},
      {"1.5h", absl::Minutes(90)}, {"7d", absl::Hours(168)},   {"2w", absl::Hours(336)},
  };
  for (const auto& [text, duration] : kCases) {
    SCOPED_TRACE(text);
    const auto parsed = ParseDuration(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, duration);
  }
}

TEST(ParseDuration, RefusesNonsense) {
  for (const char* text : {"", "2", "h", "2x", "-2h", "2h3", "1hour", "9999999999d", "2 h"}) {
    EXPECT_FALSE(ParseDuration(text).ok()) << text;
  }
}

TEST(DurationText, ReadsBack) {
  for (const char* text : {"0", "500ms", "1m30s", "2h", "1h30m", "7d", "1d1h1m1s1ms"}) {
    EXPECT_EQ(DurationText(*ParseDuration(text)), text);
  }
}

TEST(FormatAge, SaysOneUnitAndNeverANegative) {
  const std::pair<absl::Duration, const char*> kCases[] = {
      {absl::Seconds(-5), "0s"}, {absl::Seconds(119), "119s"}, {absl::Seconds(120), "2m"},
      {absl::Hours(5), "5h"},    {absl::Hours(49), "2d"},      {absl::Hours(24 * 800), "2y"},
  };
  for (const auto& [age, text] : kCases) EXPECT_EQ(FormatAge(age), text);
}

TEST(FormatNumber, ShowsWhatIsNoNumber) {
  EXPECT_EQ(FormatNumber(1.25), "1.25");
  EXPECT_EQ(FormatNumber(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(FormatNumber(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(ParseNumber, TakesEveryDoubleAndNothingElse) {
  EXPECT_EQ(*ParseNumber("x", "-1.5e3"), -1500);
  EXPECT_EQ(*ParseNumber("x", "+2"), 2);
  EXPECT_TRUE(std::isnan(*ParseNumber("x", "nan")));
  EXPECT_TRUE(std::isinf(*ParseNumber("x", "inf")));
  for (const char* text : {"", "one", "1,5", "1 ", "1e999"}) {
    EXPECT_FALSE(ParseNumber("x", text).ok()) << text;
  }
}

TEST(ParseCount, TakesWholeNumbersOnly) {
  EXPECT_EQ(*ParseCount("step", "18446744073709551615"), std::numeric_limits<uint64_t>::max());
  for (const char* text : {"", "-1", "+1", "1.0", "ten", "18446744073709551616", " 1"}) {
    EXPECT_FALSE(ParseCount("step", text).ok()) << text;
  }
}

}  // namespace
}  // namespace ckpt::ctl
