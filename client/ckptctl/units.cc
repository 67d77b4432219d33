#include "client/ckptctl/units.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>

#include "proto/names.h"

namespace ckpt::ctl {
namespace {

constexpr std::string_view kPrefixes = "KMGTPE";

absl::Status Invalid(const std::string& text) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kBadField, text);
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// A decimal number at the beginning of `text`, which is advanced past it.
// No sign, no exponent, no "inf".
bool TakeDecimal(std::string_view& text, double& value) {
  size_t n = 0;
  while (n < text.size() && (std::isdigit(static_cast<unsigned char>(text[n])) || text[n] == '.')) {
    ++n;
  }
  if (n == 0) return false;
  auto [end, error] = std::from_chars(text.data(), text.data() + n, value);
  if (error != std::errc() || end != text.data() + n) return false;
  text.remove_prefix(n);
  return true;
}

}  // namespace

absl::StatusOr<uint64_t> ParseBytes(std::string_view text) {
  const auto bad = [&] {
    return Invalid(
        fmt::format("'{}' is not a size; write it as 50GiB, 1.5GB or 4096", Printable(text)));
  };
  std::string_view rest = Trim(text);
  double value = 0;
  if (!TakeDecimal(rest, value)) return bad();
  rest = Trim(rest);
  std::string unit;
  for (char c : rest) unit += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  double factor = 1;
  if (!unit.empty() && unit != "B") {
    const size_t power = kPrefixes.find(unit[0]);
    if (power == std::string_view::npos) return bad();
    const std::string suffix = unit.substr(1);
    if (suffix != "" && suffix != "IB" && suffix != "B") return bad();
    factor = std::pow(suffix == "B" ? 1000.0 : 1024.0, static_cast<double>(power + 1));
  }
  if (factor == 1) {
    // Whole numbers of bytes above 2^53 would lose digits as a double.
    uint64_t whole = 0;
    const std::string_view digits = Trim(text);
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), whole);
    const std::string_view unread(parsed.ptr, digits.data() + digits.size());
    if (parsed.ec == std::errc() && unread.find('.') == std::string_view::npos) return whole;
  }
  value = std::round(value * factor);
  if (value >= 18446744073709551615.0) {
    return Invalid(fmt::format("the size '{}' is too large", Printable(text)));
  }
  return static_cast<uint64_t>(value);
}

std::string FormatBytes(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  size_t power = 0;
  // 1023.95 would print as 1024.0 of the smaller unit.
  while (value >= 1023.95 && power < kPrefixes.size()) {
    value /= 1024;
    ++power;
  }
  if (power == 0) return fmt::format("{} B", bytes);
  return fmt::format("{:.1f} {}iB", value, kPrefixes[power - 1]);
}

std::string FormatBytesExact(uint64_t bytes) {
  size_t power = 0;
  while (bytes >= 1024 && bytes % 1024 == 0 && power < kPrefixes.size()) {
    bytes /= 1024;
    ++power;
  }
  if (power == 0) return fmt::format("{}", bytes);
  return fmt::format("{}{}iB", bytes, kPrefixes[power - 1]);
}

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  const auto bad = [&] {
    return Invalid(fmt::format(
        "'{}' is not a length of time; write it as 90s, 30m, 2h, 1h30m or 7d", Printable(text)));
  };
  std::string_view rest = Trim(text);
  if (rest == "0") return absl::ZeroDuration();
  if (rest.empty()) return bad();
  static constexpr std::pair<std::string_view, int64_t> kUnits[] = {
      {"ms", 1},        {"s", 1000},       {"m", 60'000},
      {"h", 3'600'000}, {"d", 86'400'000}, {"w", 7 * 86'400'000LL},
  };
  absl::Duration total;
  while (!rest.empty()) {
    double value = 0;
    if (!TakeDecimal(rest, value)) return bad();
    size_t n = 0;
    while (n < rest.size() && std::isalpha(static_cast<unsigned char>(rest[n]))) ++n;
    const std::string_view unit = rest.substr(0, n);
    rest.remove_prefix(n);
    bool known = false;
    for (const auto& [name, milliseconds] : kUnits) {
      if (unit != name) continue;
      total += absl::Milliseconds(milliseconds) * value;
      known = true;
    }
    if (!known) return bad();
  }
  if (total > absl::Hours(24 * 365 * 1000)) {
    return Invalid(fmt::format("'{}' is longer than a thousand years", Printable(text)));
  }
  return total;
}

std::string DurationText(absl::Duration duration) {
  if (duration <= absl::ZeroDuration()) return "0";
  int64_t milliseconds = absl::ToInt64Milliseconds(duration);
  if (milliseconds == 0) return "0";
  static constexpr std::pair<std::string_view, int64_t> kUnits[] = {
      {"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}};
  std::string text;
  for (const auto& [unit, length] : kUnits) {
    const int64_t n = milliseconds / length;
    milliseconds -= n * length;
    if (n > 0) text += fmt::format("{}{}", n, unit);
  }
  return text;
}

std::string FormatAge(absl::Duration age) {
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(age));
  if (seconds < 120) return fmt::format("{}s", seconds);
  if (seconds < 120 * 60) return fmt::format("{}m", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{}h", seconds / 3600);
  const int64_t days = seconds / 86400;
  if (days < 2 * 365) return fmt::format("{}d", days);
  return fmt::format("{}y", days / 365);
}

std::string TimeText(absl::Time time, absl::TimeZone zone) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", time, zone);
}

std::string FormatTimeUtc(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

std::string FormatNumber(double value) {
  if (std::isnan(value)) return "nan";
  return fmt::format("{:.6g}", value);
}

absl::StatusOr<uint64_t> ParseCount(std::string_view what, std::string_view text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) {
    return Invalid(fmt::format("{} '{}' is too large", what, Printable(text, 40)));
  }
  if (error != std::errc() || end != text.data() + text.size()) {
    return Invalid(fmt::format("{} '{}' is not a whole number", what, Printable(text, 40)));
  }
  return value;
}

absl::StatusOr<double> ParseNumber(std::string_view what, std::string_view text) {
  std::string_view digits = text;
  if (digits.starts_with('+')) digits.remove_prefix(1);
  double value = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error == std::errc::result_out_of_range) {
    return Invalid(fmt::format("{} '{}' is too large or too small", what, Printable(text, 40)));
  }
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return Invalid(fmt::format("{} '{}' is not a number", what, Printable(text, 40)));
  }
  return value;
}

std::string Count(uint64_t n, std::string_view noun) {
  return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s");
}

}  // namespace ckpt::ctl
