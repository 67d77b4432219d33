#include "daemon/retention/calendar.h"

#include <gtest/gtest.h>

#include "tests/unit/daemon/retention/history.h"

namespace ckptd::retention {
namespace {

TEST(Calendar, NamesTheBucketOfATime) {
  struct Case {
    Period period;
    const char* time;
    const char* bucket;
  };
  for (const Case& c : {
           Case{Period::kHour, "2026-11-24T13:59", "2026-11-24 13h"},
           Case{Period::kDay, "2026-11-24T00:00", "2026-11-24"},
           Case{Period::kDay, "2024-02-29T23:59", "2024-02-29"},
           Case{Period::kMonth, "2026-01-31T23:59", "2026-01"},
           Case{Period::kYear, "2026-12-31T23:59", "2026"},
           // ISO 8601: the week belongs to the year of its Thursday.
           Case{Period::kWeek, "2026-11-24T12:00", "2026-W48"},
           Case{Period::kWeek, "2020-12-31T12:00", "2020-W53"},
           Case{Period::kWeek, "2021-01-03T12:00", "2020-W53"},
           Case{Period::kWeek, "2021-01-04T12:00", "2021-W01"},
           Case{Period::kWeek, "2024-12-30T12:00", "2025-W01"},
           Case{Period::kWeek, "2027-01-01T12:00", "2026-W53"},
       }) {
    EXPECT_EQ(BucketOf(c.period, At(c.time)), c.bucket) << c.time;
  }
}

TEST(Calendar, TakesTimesThatAreNone) {
  for (absl::Time time : {absl::InfinitePast(), absl::InfiniteFuture(), absl::Time()}) {
    for (Period period :
         {Period::kHour, Period::kDay, Period::kWeek, Period::kMonth, Period::kYear}) {
      EXPECT_FALSE(BucketOf(period, time).empty());
    }
  }
}

TEST(Calendar, WritesUtc) { EXPECT_EQ(FormatUtc(Noon()), "2026-11-24T12:00:00Z"); }

}  // namespace
}  // namespace ckptd::retention
