#include "daemon/flag_values.h"

#include <algorithm>

#include <absl/strings/numbers.h>
#include <absl/strings/str_join.h>
#include <fmt/format.h>

#include "proto/names.h"

namespace ckptd {
namespace {

std::string Quoted(const std::string& text) { return fmt::format("\"{}\"", ckpt::Printable(text)); }

}  // namespace

CLI::Validator CountUpTo(uint64_t most, bool or_none) {
  return CLI::Validator(
      [=](const std::string& text) -> std::string {
        if (or_none && text == "none") return "";
        uint64_t value = 0;
        if (!absl::SimpleAtoi(text, &value) || value > most) {
          return fmt::format("{} is no whole number from 1 to {}", Quoted(text), most);
        }
        if (value > 0) return "";
        return fmt::format("zero would keep nothing; {} to turn it off",
                           or_none ? "write none" : "leave it out");
      },
      "");
}

CLI::Validator OneOf(std::vector<std::string> words) {
  return CLI::Validator(
      [words](const std::string& text) -> std::string {
        if (std::find(words.begin(), words.end(), text) != words.end()) return "";
        return fmt::format("{} is none of {}", Quoted(text), absl::StrJoin(words, ", "));
      },
      "");
}

CLI::Validator Size() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        const std::string was = text;
        try {
          if (CLI::AsSizeValue(false)(text).empty()) return "";
        } catch (const CLI::Error&) {
        }
        return fmt::format("{} is no size; write for example 512MiB or 50GiB", Quoted(was));
      },
      "");
}

absl::StatusOr<absl::Duration> ParseTime(const char* name, const std::string& text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) || duration < absl::ZeroDuration()) {
    return ckpt::BadField(name, fmt::format("{}: \"{}\" is no length of time; write for example "
                                            "90s, 15m or 24h", name, ckpt::Printable(text)));
  }
  return duration;
}

absl::StatusOr<uint64_t> ParseLimit(const char* name, const std::string& text) {
  if (text == "none") return uint64_t{0};
  std::string number = text;
  uint64_t bytes = 0;
  // The validator writes the size out as a number.
  if (Size()(number).empty() && absl::SimpleAtoi(number, &bytes) && bytes > 0) return bytes;
  return ckpt::BadField(name, fmt::format("{}: {} is no size above zero; write for example 500GiB, "
                                          "or none",
                                          name, Quoted(text)));
}

}  // namespace ckptd
