#include "tests/unit/daemon/retention/history.h"

#include <cstdlib>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "daemon/retention/calendar.h"

namespace ckptd::retention {
namespace {

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in{std::string(text)};
  for (std::string part; std::getline(in, part, separator);) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

uint64_t Number(const std::string& text) { return std::strtoull(text.c_str(), nullptr, 10); }

absl::Duration ParseDuration(const std::string& text) {
  absl::Duration duration;
  EXPECT_TRUE(absl::ParseDuration(text, &duration)) << text;
  return duration;
}

// "name:value" split at the first colon; the value may hold more of them.
std::pair<std::string, std::string> KeyAndValue(const std::string& word) {
  const size_t colon = word.find(':');
  if (colon == std::string::npos) return {word, ""};
  return {word.substr(0, colon), word.substr(colon + 1)};
}

void ApplyWord(const std::string& word, Candidate& c) {
  if (const size_t equals = word.find('='); equals != std::string::npos) {
    c.metrics[word.substr(0, equals)] = std::strtod(word.c_str() + equals + 1, nullptr);
    return;
  }
  const auto [key, value] = KeyAndValue(word);
  if (key == "pending") {
    c.pending_metrics.insert(value);
  } else if (key == "at") {
    c.committed_at = At(value);
  } else if (key == "tl") {
    c.timeline = static_cast<uint32_t>(Number(value));
  } else if (key == "off") {
    c.on_current_line = false;
  } else if (key == "bytes") {
    c.bytes = Number(value);
  } else if (key == "damaged") {
    c.damaged = true;
  } else if (key == "ref") {
    c.referenced = true;
  } else if (key == "lease") {
    c.leased = true;
  } else if (key == "pin") {
    c.pins.insert(value);
  } else if (key == "alias") {
    c.aliases.insert(value);
  } else {
    ADD_FAILURE() << "unknown word in a history: " << word;
  }
}

}  // namespace

absl::Time Noon() { return At("2026-11-24T12:00"); }

absl::Time At(std::string_view text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(
      absl::ParseTime("%Y-%m-%d%ET%H:%M", std::string(text), absl::UTCTimeZone(), &time, &error))
      << text << ": " << error;
  return time;
}

std::vector<Candidate> ParseHistory(std::string_view text) {
  std::vector<Candidate> candidates;
  for (const std::string& part : Split(text, ';')) {
    const std::vector<std::string> words = Split(part, ' ');
    Candidate c;
    const size_t at = words[0].find('@');
    EXPECT_NE(at, std::string::npos) << words[0];
    c.id = Number(words[0].substr(0, at));
    c.step = Number(words[0].substr(at + 1));
    c.committed_at = At("2026-11-24T00:00") + absl::Minutes(c.id);
    c.bytes = 100;
    for (size_t i = 1; i < words.size(); ++i) ApplyWord(words[i], c);
    candidates.push_back(std::move(c));
  }
  return candidates;
}

std::string ToText(const std::vector<Candidate>& candidates) {
  std::string text;
  for (const Candidate& c : candidates) {
    text += fmt::format("{}@{} tl:{} at:{} bytes:{}", c.id, c.step, c.timeline,
                        FormatUtc(c.committed_at), c.bytes);
    for (const auto& [name, value] : c.metrics) text += fmt::format(" {}={}", name, value);
    for (const std::string& name : c.pending_metrics) text += " pending:" + name;
    for (const std::string& name : c.pins) text += " pin:" + name;
    for (const std::string& name : c.aliases) text += " alias:" + name;
    if (!c.on_current_line) text += " off";
    if (c.damaged) text += " damaged";
    if (c.referenced) text += " ref";
    if (c.leased) text += " lease";
    text += "; ";
  }
  return text;
}

ckpt::Policy ParsePolicy(std::string_view text) {
  ckpt::Policy policy;
  for (const std::string& word : Split(text, ' ')) {
    const auto [key, value] = KeyAndValue(word);
    const auto count = static_cast<uint32_t>(Number(value));
    if (key == "last") {
      policy.keep_last = count;
    } else if (key == "best") {
      const std::vector<std::string> parts = Split(value, ':');
      policy.keep_best.push_back(
          {parts.at(0), parts.at(1) == "max" ? ckpt::MetricMode::kMax : ckpt::MetricMode::kMin,
           static_cast<uint32_t>(Number(parts.at(2)))});
    } else if (key == "every") {
      policy.keep_every_steps = Number(value);
    } else if (key == "within") {
      policy.keep_within = ParseDuration(value);
    } else if (key == "hourly") {
      policy.keep_hourly = count;
    } else if (key == "daily") {
      policy.keep_daily = count;
    } else if (key == "weekly") {
      policy.keep_weekly = count;
    } else if (key == "monthly") {
      policy.keep_monthly = count;
    } else if (key == "yearly") {
      policy.keep_yearly = count;
    } else if (key == "bytes") {
      policy.keep_bytes = Number(value);
    } else if (key == "grace") {
      policy.metric_grace = ParseDuration(value);
    } else {
      ADD_FAILURE() << "unknown word in a policy: " << word;
    }
  }
  return policy;
}

std::string ToText(const ckpt::Policy& policy) {
  std::string text;
  const auto add = [&](const char* name, const auto& value) {
    if (value) text += fmt::format("{}:{} ", name, *value);
  };
  add("last", policy.keep_last);
  for (const ckpt::BestRule& rule : policy.keep_best) {
    text += fmt::format("best:{}:{}:{} ", rule.metric,
                        rule.mode == ckpt::MetricMode::kMax ? "max" : "min", rule.count);
  }
  add("every", policy.keep_every_steps);
  if (policy.keep_within) text += "within:" + absl::FormatDuration(*policy.keep_within) + " ";
  add("hourly", policy.keep_hourly);
  add("daily", policy.keep_daily);
  add("weekly", policy.keep_weekly);
  add("monthly", policy.keep_monthly);
  add("yearly", policy.keep_yearly);
  add("bytes", policy.keep_bytes);
  return text + "grace:" + absl::FormatDuration(policy.metric_grace);
}

std::vector<std::string> ToLines(const std::vector<Candidate>& candidates,
                                 const std::vector<ckpt::Verdict>& verdicts) {
  EXPECT_EQ(candidates.size(), verdicts.size());
  std::vector<std::string> lines;
  for (size_t i = 0; i < std::min(candidates.size(), verdicts.size()); ++i) {
    std::string line = fmt::format("{} {}: ", candidates[i].id, verdicts[i].keep ? "kept" : "gone");
    for (size_t r = 0; r < verdicts[i].reasons.size(); ++r) {
      if (r > 0) line += ", ";
      line += verdicts[i].reasons[r].text;
    }
    lines.push_back(line);
  }
  return lines;
}

}  // namespace ckptd::retention
