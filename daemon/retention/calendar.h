// The calendar periods of retention's time rules, in UTC.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <absl/time/time.h>

#include "proto/model.h"

namespace ckptd::retention {

enum class Period : uint8_t { kHour, kDay, kWeek, kMonth, kYear };

struct PeriodName {
  std::string_view noun;       // "day"
  std::string_view adjective;  // "daily"
  ckpt::Reason::Rule rule;
};
const PeriodName& NameOf(Period period);

// The bucket that `time` falls into, as people write it: "2026-11-24 13h",
// "2026-11-24", "2026-W48" (ISO 8601: weeks begin on Monday and belong to the
// year of their Thursday), "2026-11", "2026". Equal text: same bucket.
std::string BucketOf(Period period, absl::Time time);

// "2026-11-24T13:05:09Z".
std::string FormatUtc(absl::Time time);

}  // namespace ckptd::retention
