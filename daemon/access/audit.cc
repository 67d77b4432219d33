#include "daemon/access/audit.h"

#include <exception>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include "proto/names.h"

namespace ckptd {
namespace {

using Json = nlohmann::ordered_json;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kFileBytes = 64 << 20;
constexpr size_t kOldFiles = 9;
constexpr absl::Duration kWindow = absl::Minutes(10);
constexpr uint64_t kRefusalsPerWindow = 600;
// A name that was sent may be anything, and longer than any name.
constexpr size_t kMaxTextBytes = 200;

// What of a request says what it is about. Others hold manifests and bytes, or
// texts that are nobody's business.
constexpr std::string_view kFields[] = {
    "run",       "from_run",  "project",  "all_projects", "checkpoint_id", "checkpoint_ids",
    "upload_id", "ticket_id", "token_id", "role",         "name",          "alias"};

Json ValueOf(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  if (field.is_repeated()) {
    Json values = Json::array();
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
      values.push_back(reflection.GetRepeatedUInt64(message, &field, i));
    }
    return values;
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return ckpt::Printable(reflection.GetString(message, &field), kMaxTextBytes);
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.GetUInt64(message, &field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return ckpt::RoleName(static_cast<ckpt::Role>(reflection.GetEnumValue(message, &field)));
    default:
      return nullptr;
  }
}

// A run becomes `project` and `run`.
void AddNamed(const Message& request, Json& line) {
  for (const std::string_view name : kFields) {
    const FieldDescriptor* field = request.GetDescriptor()->FindFieldByName(std::string(name));
    if (field == nullptr) continue;
    const auto& reflection = *request.GetReflection();
    const bool is_there = field->is_repeated() ? reflection.FieldSize(request, field) > 0
                                               : reflection.HasField(request, field);
    if (!is_there) continue;
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      line[std::string(name)] = ValueOf(request, *field);
      continue;
    }
    const Message& run = reflection.GetMessage(request, field);
    const std::string prefix = name == "run" ? "" : "from_";
    for (const char* part : {"project", "run"}) {
      line[prefix + part] = ValueOf(run, *run.GetDescriptor()->FindFieldByName(part));
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Audit>> Audit::Open(const std::string& path, os::Clock* clock) {
  std::shared_ptr<spdlog::logger> log;
  if (!path.empty()) {
    // spdlog has exceptions for this; none leaves here.
    try {
      log = std::make_shared<spdlog::logger>(
          "audit",
          std::make_shared<spdlog::sinks::rotating_file_sink_mt>(path, kFileBytes, kOldFiles));
    } catch (const std::exception& error) {
      return ckpt::BadField("audit-log", fmt::format("audit-log: {}", error.what()));
    }
    log->set_pattern("%v");
    log->flush_on(spdlog::level::info);
    log->set_error_handler([](const std::string& error) {
      spdlog::error("the audit log cannot be written: {}", error);
    });
  }
  return std::unique_ptr<Audit>(new Audit(std::move(log), clock));
}

Audit::~Audit() = default;

void Audit::Record(const AuditEntry& entry) { Write(entry, 0); }

void Audit::RecordRefusal(const AuditEntry& entry) {
  uint64_t left_out = 0;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = clock_->Now();
    if (now - window_ > kWindow || now < window_) {
      window_ = now;
      refusals_ = 0;
    }
    if (++refusals_ > kRefusalsPerWindow) {
      ++left_out_;
      return;
    }
    left_out = std::exchange(left_out_, 0);
  }
  Write(entry, left_out);
}

void Audit::Write(const AuditEntry& entry, uint64_t left_out) {
  if (log_ == nullptr) return;
  Json line = {
      {"time", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", clock_->Now(), absl::UTCTimeZone())},
      {"method", entry.method},
      {"outcome", entry.outcome.ok() ? "OK" : ckpt::ReasonOf(entry.outcome)},
      {"peer", entry.peer}};
  if (!entry.peer_identity.empty()) {
    line["certificate"] = ckpt::Printable(entry.peer_identity, kMaxTextBytes);
  }
  if (entry.caller != nullptr && !entry.caller->token_id.empty()) {
    line["token_id_of_caller"] = entry.caller->token_id;
    line["token_name_of_caller"] = entry.caller->token_name;
  }
  if (entry.request != nullptr) AddNamed(*entry.request, line);
  if (!entry.made.empty()) line["made"] = entry.made;
  if (left_out > 0) line["refusals_left_out_before"] = left_out;
  log_->info("{}", line.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace ckptd
