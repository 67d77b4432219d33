// Sizes, times and numbers as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <absl/time/time.h>

#include "proto/status.h"

namespace ckpt::ctl {

// "50GiB", "1.5 GB", "200m", "4096": bytes. K, M, G, T, P alone and with iB
// count in 1024s, with B alone in 1000s. INVALID_ARGUMENT says what was wrong.
absl::StatusOr<uint64_t> ParseBytes(std::string_view text);
// "0 B", "512 B", "1.5 KiB", "12.0 GiB".
std::string FormatBytes(uint64_t bytes);
// The shortest exact form that ParseBytes reads: "50GiB", "1500".
std::string FormatBytesExact(uint64_t bytes);

// "90s", "2h", "1h30m", "7d", "2w", "500ms": one or several numbers with their
// units. A number without a unit is refused, but for "0".
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);
// As ParseDuration reads it: "1h30m"; "0" for none.
std::string DurationText(absl::Duration duration);

// How long ago, in one unit: "12s", "5m", "3h", "4d", "2y". Never negative.
std::string FormatAge(absl::Duration age);
// "2026-01-31 09:05:07" in `zone`.
std::string TimeText(absl::Time time, absl::TimeZone zone);
// RFC 3339 in UTC, with milliseconds: for programs.
std::string FormatTimeUtc(absl::Time time);

// A metric: at most six digits, "nan", "inf", "-inf".
std::string FormatNumber(double value);
// Decimal digits only; `what` begins the sentence of the INVALID_ARGUMENT.
absl::StatusOr<uint64_t> ParseCount(std::string_view what, std::string_view text);
// Any double, also "nan" and "inf".
absl::StatusOr<double> ParseNumber(std::string_view what, std::string_view text);

// "1 checkpoint", "3 checkpoints".
std::string Count(uint64_t n, std::string_view noun);

}  // namespace ckpt::ctl
