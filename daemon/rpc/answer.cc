#include "daemon/rpc/answer.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include <absl/strings/ascii.h>
#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <spdlog/spdlog.h>

#include "proto/channel.h"
#include "proto/digest.h"
#include "proto/limits.h"
#include "proto/names.h"

namespace ckptd {

grpc::Status Ended(const char* name, const absl::Status& status) {
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

absl::StatusOr<RequestKey> ReadRequestKey(const char* name, const grpc::ServerContext& context,
                                          const Caller& caller,
                                          const google::protobuf::Message& request) {
  RequestKey key;
  const auto [first, last] = context.client_metadata().equal_range(ckpt::kRequestIdHeader);
  if (first == last) return key;
  key.id = std::string(first->second.data(), first->second.size());
  const bool printable = std::all_of(key.id.begin(), key.id.end(), absl::ascii_isprint);
  if (std::next(first) != last || key.id.empty() || key.id.size() > ckpt::kMaxRequestIdBytes ||
      !printable) {
    return ckpt::BadField(
        ckpt::kRequestIdHeader,
        fmt::format("{} gives a call one id of 1 to {} printable ASCII characters",
                    ckpt::kRequestIdHeader, ckpt::kMaxRequestIdBytes));
  }
  // No name holds a blank.
  if (caller.project) key.id = *caller.project + " " + key.id;
  key.method = name;
  std::string bytes;
  google::protobuf::io::StringOutputStream sink(&bytes);
  {
    google::protobuf::io::CodedOutputStream out(&sink);
    out.SetSerializationDeterministic(true);  // the order of maps is not part of the request
    request.SerializeToCodedStream(&out);
  }
  key.request = ckpt::HashBytes(bytes);
  return key;
}

absl::StatusOr<bool> AnsweredBefore(Store* store, const RequestKey& key,
                                    google::protobuf::Message* response) {
  if (key.id.empty()) return false;
  ASSIGN_OR_RETURN(std::optional<std::string> answer, store->AnsweredBefore(key));
  if (!answer) return false;
  if (!response->ParseFromString(*answer)) {
    return ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
                           fmt::format("the answer kept for request id {} is not one of {}",
                                       ckpt::Printable(key.id), key.method));
  }
  return true;
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

absl::StatusOr<std::string> ParseProject(const std::string& name) {
  if (name.empty()) return std::string(ckpt::kDefaultProject);
  RETURN_IF_ERROR(ckpt::CheckName("project name", name));
  return name;
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
                                                  "answer before",
                                                  ckpt::Printable(token)));
}

}  // namespace ckptd
