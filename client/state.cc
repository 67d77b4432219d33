#include "client/state.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "proto/chunking.h"
#include "proto/names.h"

namespace ckpt {

void State::AddTensor(std::string name, DType dtype, std::vector<int64_t> shape, const void* data) {
  entries_.push_back(
      {.name = std::move(name), .dtype = dtype, .shape = std::move(shape), .data = data});
}

void State::AddBytes(std::string name, std::string bytes) {
  StateEntry entry{.name = std::move(name), .length = bytes.size()};
  entry.owned = std::move(bytes);
  entries_.push_back(std::move(entry));
}

void State::AddBytesView(std::string name, const void* data, size_t size) {
  entries_.push_back({.name = std::move(name), .length = size, .data = data});
}

absl::StatusOr<std::vector<Entry>> ManifestEntries(const State& state) {
  std::vector<Entry> entries;
  entries.reserve(state.entries().size());
  for (const StateEntry& from : state.entries()) {
    Entry entry{.name = from.name,
                .dtype = from.dtype,
                .shape = from.shape,
                .global_shape = from.global_shape,
                .global_offset = from.global_offset,
                .length = from.length};
    if (entry.is_tensor()) {
      absl::StatusOr<uint64_t> bytes = TensorBytes(entry.dtype, entry.shape);
      if (!bytes.ok()) {
        return Annotate(bytes.status(), fmt::format("entry {}", Printable(from.name)));
      }
      entry.length = *bytes;
    } else if (!from.owned.empty()) {
      entry.length = from.owned.size();
    }
    if (entry.length > 0 && from.data == nullptr && from.owned.empty() && !from.copy) {
      return BadField("state", fmt::format("entry {} has {} bytes and no data",
                                           Printable(from.name), entry.length));
    }
    if (!from.owned.empty() && from.owned.size() != entry.length) {
      return BadField("state", fmt::format("entry {} should have {} bytes but holds {}",
                                           Printable(from.name), entry.length, from.owned.size()));
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

absl::Status CopyOut(const StateEntry& entry, std::span<std::byte> into) {
  if (into.empty()) return absl::OkStatus();
  if (entry.copy) return entry.copy(into);
  std::memcpy(into.data(), entry.data != nullptr ? entry.data : entry.owned.data(), into.size());
  return absl::OkStatus();
}

nlohmann::json DoubleToJson(double value) {
  if (std::isfinite(value)) return value;
  const char* name = std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
  return {{"$float", name}};
}

std::optional<double> DoubleFromJson(const nlohmann::json& json) {
  if (json.is_number()) return json.get<double>();
  if (!json.is_object() || json.size() != 1 || !json.contains("$float")) return std::nullopt;
  const nlohmann::json& name = json["$float"];
  if (name == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (name == "inf") return std::numeric_limits<double>::infinity();
  if (name == "-inf") return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

std::string DumpStateDocument(const nlohmann::json& document) {
  // A string that is not UTF-8 must not throw in a trainer: it is replaced.
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

absl::StatusOr<nlohmann::json> ParseStateDocument(const std::string& bytes) {
  nlohmann::json document = nlohmann::json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded() || !document.is_object() || !document.contains("format") ||
      !document["format"].is_string()) {
    return BadField(kStateDocument, fmt::format("the entry {} is no state document: was this "
                                                "checkpoint written by a trainer of ours?",
                                                kStateDocument));
  }
  const std::string format = document["format"].get<std::string>();
  if (format != kStateFormat) {
    return BadField(kStateDocument,
                    fmt::format("the state document's format is \"{}\", and this version reads "
                                "\"{}\" only: use a newer one",
                                Printable(format), kStateFormat));
  }
  if (!document.contains("objects") || !document["objects"].is_object()) {
    return BadField(kStateDocument, "the state document has no \"objects\"");
  }
  return document;
}

}  // namespace ckpt
