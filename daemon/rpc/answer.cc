#include "daemon/rpc/answer.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "proto/limits.h"
#include "proto/names.h"

namespace ckptd {

grpc::Status Answer(const char* name, const std::function<absl::Status()>& call) {
  absl::Status status = call();
  if (!status.ok()) {
    bool ours = absl::IsInternal(status) || absl::IsUnknown(status) || absl::IsDataLoss(status) ||
                absl::IsUnavailable(status);
    spdlog::log(ours ? spdlog::level::err : spdlog::level::info, "{} refused: {} ({})", name,
                std::string(status.message()), ckpt::ReasonOf(status));
  }
  return ckpt::ToGrpc(status);
}

void LogStreamEnd(const char* name, const absl::Status& status) {
  if (status.ok() || absl::IsCancelled(status)) return;
  spdlog::warn("{} refused: {} ({})", name, std::string(status.message()), ckpt::ReasonOf(status));
}

absl::StatusOr<ckpt::Metrics> ParseMetrics(
    const google::protobuf::RepeatedPtrField<ckpt::v1::Metric>& metrics) {
  if (static_cast<size_t>(metrics.size()) > ckpt::kMaxMetrics) {
    return ckpt::BadField("metrics", fmt::format("{} metrics, but at most {} are allowed",
                                                 metrics.size(), ckpt::kMaxMetrics));
  }
  ckpt::Metrics parsed;
  for (const ckpt::v1::Metric& metric : metrics) {
    RETURN_IF_ERROR(ckpt::CheckLabelName("metric", metric.name()));
    if (!parsed.emplace(metric.name(), metric.value()).second) {
      return ckpt::BadField("metrics", fmt::format("metric {} is there twice", metric.name()));
    }
  }
  return parsed;
}

uint32_t PageSize(uint32_t requested) {
  return requested == 0 ? ckpt::kDefaultPageSize : std::min(requested, ckpt::kMaxPageSize);
}

absl::StatusOr<uint64_t> ParsePageToken(const std::string& token) {
  if (token.empty()) return 0;
  uint64_t id = 0;
  auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), id);
  if (error != std::errc() || end != token.data() + token.size()) {
    return BadPageToken(token);
  }
  return id;
}

absl::Status BadPageToken(const std::string& token) {
  return ckpt::BadField("page_token", fmt::format("\"{}\" is no page token; pass the one from the "
                                                  "answer before", ckpt::Printable(token)));
}

}  // namespace ckptd
