#include "proto/model.h"

#include <iterator>

#include <absl/strings/str_join.h>
#include <fmt/format.h>

#include "proto/limits.h"

namespace ckpt {
namespace {

struct DTypeFacts {
  const char* name;
  size_t bytes;
};
// Indexed by DType's numbers; the names are safetensors' where it has one.
constexpr DTypeFacts kDTypes[] = {
    {"bytes", 0}, {"F64", 8}, {"F32", 4}, {"F16", 2},  {"BF16", 2}, {"I64", 8},
    {"I32", 4},   {"I16", 2}, {"I8", 1},  {"U8", 1},   {"BOOL", 1}, {"C64", 8},
    {"C128", 16}, {"U16", 2}, {"U32", 4}, {"U64", 8},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
};

// Indexed by Role's numbers.
constexpr const char* kRoles[] = {"none", "read", "write", "admin"};

}  // namespace

size_t ElementBytes(DType dtype) {
  auto i = static_cast<size_t>(dtype);
  return i < std::size(kDTypes) ? kDTypes[i].bytes : 0;
}

std::string_view DTypeName(DType dtype) {
  auto i = static_cast<size_t>(dtype);
  return i < std::size(kDTypes) ? kDTypes[i].name : "unknown";
}

std::optional<DType> ParseDType(std::string_view name) {
  for (size_t i = 1; i < std::size(kDTypes); ++i) {
    if (name == kDTypes[i].name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

uint64_t Manifest::bytes() const {
  uint64_t total = 0;
  for (const Chunk& chunk : chunks) total += chunk.length;
  return total;
}

const Entry* Manifest::Find(std::string_view name) const {
  for (const Entry& entry : entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

std::string_view RoleName(Role role) {
  auto i = static_cast<size_t>(role);
  return i < std::size(kRoles) ? kRoles[i] : "unknown";
}

std::optional<Role> ParseRole(std::string_view name) {
  for (size_t i = 1; i < std::size(kRoles); ++i) {
    if (name == kRoles[i]) return static_cast<Role>(i);
  }
  return std::nullopt;
}

std::string RunName::ToString() const {
  return project == kDefaultProject ? run : fmt::format("{}/{}", project, run);
}

std::string ReasonsText(const Verdict& verdict) {
  return absl::StrJoin(verdict.reasons, ", ", [](std::string* out, const Reason& reason) {
    out->append(reason.text);
  });
}

Policy Policy::Default() {
  Policy policy;
  policy.keep_last = 3;
  policy.keep_best = {{"val_loss", MetricMode::kMin, 1}};
  return policy;
}

bool Policy::has_rules() const {
  return keep_last || !keep_best.empty() || keep_every_steps || keep_within || keep_hourly ||
         keep_daily || keep_weekly || keep_monthly || keep_yearly || keep_bytes;
}

std::string ToString(const Policy& policy) {
  std::vector<std::string> words;
  auto number = [&](const char* name, const auto& value) {
    if (value) words.push_back(fmt::format("{}={}", name, *value));
  };
  auto time = [&](const char* name, absl::Duration value) {
    words.push_back(fmt::format("{}={}", name, absl::FormatDuration(value)));
  };
  number("keep_last", policy.keep_last);
  for (const BestRule& rule : policy.keep_best) {
    words.push_back(fmt::format("keep_best={}:{}:{}", rule.count, rule.metric,
                                rule.mode == MetricMode::kMax ? "max" : "min"));
  }
  number("keep_every_steps", policy.keep_every_steps);
  if (policy.keep_within) time("keep_within", *policy.keep_within);
  number("keep_hourly", policy.keep_hourly);
  number("keep_daily", policy.keep_daily);
  number("keep_weekly", policy.keep_weekly);
  number("keep_monthly", policy.keep_monthly);
  number("keep_yearly", policy.keep_yearly);
  number("keep_bytes", policy.keep_bytes);
  if (words.empty()) words.push_back("keep everything (no rules)");
  const Policy standard;
  if (policy.metric_grace != standard.metric_grace) time("metric_grace", policy.metric_grace);
  if (policy.restore_grace != standard.restore_grace) time("restore_grace", policy.restore_grace);
  if (policy.upload_deadline != standard.upload_deadline) {
    time("upload_deadline", policy.upload_deadline);
  }
  if (policy.max_failed_resumes != standard.max_failed_resumes) {
    words.push_back(fmt::format("max_failed_resumes={}", policy.max_failed_resumes));
  }
  return absl::StrJoin(words, " ");
}

}  // namespace ckpt
