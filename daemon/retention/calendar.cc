#include "daemon/retention/calendar.h"

#include <algorithm>

#include <absl/time/civil_time.h>
#include <fmt/format.h>

namespace ckptd::retention {
namespace {

std::string IsoWeek(absl::CivilDay day) {
  // The Thursday of the week decides which year the week belongs to.
  const absl::CivilDay thursday = absl::PrevWeekday(day + 1, absl::Weekday::monday) + 3;
  return fmt::format("{:04}-W{:02}", thursday.year(), (absl::GetYearDay(thursday) - 1) / 7 + 1);
}

}  // namespace

const PeriodName& NameOf(Period period) {
  using Rule = ckpt::Reason::Rule;
  static constexpr PeriodName kNames[] = {
      {"hour", "hourly", Rule::kHourly}, {"day", "daily", Rule::kDaily},
      {"week", "weekly", Rule::kWeekly}, {"month", "monthly", Rule::kMonthly},
      {"year", "yearly", Rule::kYearly},
  };
  return kNames[static_cast<size_t>(period)];
}

std::string BucketOf(Period period, absl::Time time) {
  // At the ends of time the arithmetic of days overflows.
  static const absl::Time first = absl::FromCivil(absl::CivilDay(1), absl::UTCTimeZone());
  static const absl::Time last = absl::FromCivil(absl::CivilDay(9999, 12, 31), absl::UTCTimeZone());
  const absl::CivilHour hour =
      absl::ToCivilHour(std::clamp(time, first, last), absl::UTCTimeZone());
  switch (period) {
    case Period::kHour:
      return fmt::format("{:04}-{:02}-{:02} {:02}h", hour.year(), hour.month(), hour.day(),
                         hour.hour());
    case Period::kDay:
      return fmt::format("{:04}-{:02}-{:02}", hour.year(), hour.month(), hour.day());
    case Period::kWeek:
      return IsoWeek(absl::CivilDay(hour));
    case Period::kMonth:
      return fmt::format("{:04}-{:02}", hour.year(), hour.month());
    case Period::kYear:
      return fmt::format("{:04}", hour.year());
  }
  return {};
}

std::string FormatUtc(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d%ET%H:%M:%SZ", time, absl::UTCTimeZone());
}

}  // namespace ckptd::retention
