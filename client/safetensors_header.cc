#include <algorithm>
#include <cstring>
#include <set>

#include <nlohmann/json.hpp>

#include "client/safetensors.h"
#include "proto/chunking.h"
#include "proto/names.h"

namespace ckpt {
namespace {

constexpr char kMetadata[] = "__metadata__";
constexpr size_t kAlignment = 8;

absl::Status Bad(const std::string& text) { return BadField("header", text); }

// Whether the format has a name for it.
bool Representable(DType dtype) {
  return dtype != DType::kNone && dtype != DType::kC64 && dtype != DType::kC128;
}

// Reads the header's one shape, {name: {dtype, shape, data_offsets},
// "__metadata__": {text: text}}, without building a document in memory. The
// first broken rule ends it.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::string error;
  std::vector<Entry> entries;  // offset and length as data_offsets say
  std::map<std::string, std::string> metadata;

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_float(double, const std::string& text) override {
    return Unexpected("the number " + text);
  }
  bool binary(binary_t&) override { return Unexpected("bytes"); }
  bool number_integer(int64_t value) override {
    return Unexpected(fmt::format("the number {}", value));
  }

  bool number_unsigned(uint64_t value) override {
    if (where_ == Where::kShape) {
      if (value > static_cast<uint64_t>(INT64_MAX)) {
        return Fail(fmt::format("tensor {} has a dimension of {}", name(), value));
      }
      entries.back().shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (where_ == Where::kOffsets) {
      offsets_.push_back(value);
      return true;
    }
    return Unexpected(fmt::format("the number {}", value));
  }

  bool string(std::string& value) override {
    if (where_ == Where::kMetadataValue) {
      metadata[key_] = value;
      where_ = Where::kMetadata;
      return true;
    }
    if (where_ != Where::kDType) return Unexpected("a string");
    const std::optional<DType> dtype = ParseDType(value);
    if (!dtype.has_value() || !Representable(*dtype)) {
      return Fail(fmt::format("tensor {} has the dtype \"{}\", which is unknown", name(),
                              Printable(value)));
    }
    entries.back().dtype = *dtype;
    where_ = Where::kTensor;
    return true;
  }

  bool start_object(size_t) override {
    switch (where_) {
      case Where::kStart:
        where_ = Where::kTop;
        return true;
      case Where::kTensorValue:
        where_ = Where::kTensor;
        fields_.clear();
        offsets_.clear();
        return true;
      case Where::kMetadataObject:
        where_ = Where::kMetadata;
        return true;
      default:
        return Unexpected("an object");
    }
  }

  bool key(std::string& key) override {
    if (where_ == Where::kTop) {
      if (!names_.insert(key).second) {
        return Fail(fmt::format("the name {} is there twice", Printable(key)));
      }
      if (key == kMetadata) {
        where_ = Where::kMetadataObject;
      } else {
        entries.push_back({.name = key});
        where_ = Where::kTensorValue;
      }
      return true;
    }
    if (where_ == Where::kMetadata) {
      if (metadata.contains(key)) {
        return Fail(fmt::format("the metadata has {} twice", Printable(key)));
      }
      key_ = key;
      where_ = Where::kMetadataValue;
      return true;
    }
    if (!fields_.insert(key).second) {
      return Fail(fmt::format("tensor {} has {} twice", name(), Printable(key)));
    }
    if (key == "dtype") {
      where_ = Where::kDType;
    } else if (key == "shape") {
      where_ = Where::kShapeValue;
    } else if (key == "data_offsets") {
      where_ = Where::kOffsetsValue;
    } else {
      return Fail(fmt::format("tensor {} has the unknown field {}", name(), Printable(key)));
    }
    return true;
  }

  bool end_object() override {
    if (where_ == Where::kTop) {
      where_ = Where::kEnd;
      return true;
    }
    if (where_ == Where::kTensor) {
      for (const char* field : {"dtype", "shape", "data_offsets"}) {
        if (!fields_.contains(field))
          return Fail(fmt::format("tensor {} has no {}", name(), field));
      }
      if (offsets_.size() != 2 || offsets_[0] > offsets_[1]) {
        return Fail(fmt::format("the data_offsets of tensor {} are no [begin, end]", name()));
      }
      entries.back().offset = offsets_[0];
      entries.back().length = offsets_[1] - offsets_[0];
    }
    where_ = Where::kTop;
    return true;
  }

  bool start_array(size_t) override {
    if (where_ == Where::kShapeValue) {
      where_ = Where::kShape;
    } else if (where_ == Where::kOffsetsValue) {
      where_ = Where::kOffsets;
    } else {
      return Unexpected("an array");
    }
    return true;
  }

  bool end_array() override {
    where_ = Where::kTensor;
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail(
        fmt::format("the header is no JSON: it breaks off or goes wrong at its byte {}", position));
  }

 private:
  // What comes next, and where.
  enum class Where {
    kStart,
    kTop,
    kTensorValue,
    kTensor,
    kDType,
    kShapeValue,
    kShape,
    kOffsetsValue,
    kOffsets,
    kMetadataObject,
    kMetadata,
    kMetadataValue,
    kEnd,
  };

  bool Fail(std::string text) {
    if (error.empty()) error = std::move(text);
    return false;
  }
  bool Unexpected(const std::string& what) {
    if (where_ == Where::kStart) return Fail("the header is not a JSON object");
    if (where_ == Where::kMetadataObject || where_ == Where::kMetadataValue) {
      return Fail(fmt::format("the metadata is no map of text to text: {} stands in it", what));
    }
    return Fail(
        fmt::format("tensor {} is not described by dtype, shape and data_offsets: {} "
                    "stands where it must not",
                    name(), what));
  }
  std::string name() const { return entries.empty() ? "?" : Printable(entries.back().name); }

  Where where_ = Where::kStart;
  std::set<std::string> names_, fields_;
  std::vector<uint64_t> offsets_;
  std::string key_;
};

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json,
                                                         uint64_t data_bytes) {
  if (json.empty() || json.front() != '{') return Bad("the header does not begin with {");
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &reader)) return Bad(reader.error);
  for (const Entry& entry : reader.entries) {
    RETURN_IF_ERROR(CheckEntryName(entry.name));
    const absl::StatusOr<uint64_t> bytes = TensorBytes(entry.dtype, entry.shape);
    if (!bytes.ok()) {
      return Annotate(bytes.status(), fmt::format("tensor {}", Printable(entry.name)));
    }
    if (*bytes != entry.length) {
      return Bad(fmt::format("tensor {} has {} bytes of data, but its dtype {} and shape make {}",
                             Printable(entry.name), entry.length, DTypeName(entry.dtype), *bytes));
    }
  }
  std::sort(reader.entries.begin(), reader.entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.offset, a.length, a.name) < std::tie(b.offset, b.length, b.name);
  });
  uint64_t end = 0;
  for (const Entry& entry : reader.entries) {
    if (entry.offset != end) {
      return Bad(fmt::format("{} before tensor {}: it begins at byte {} of the data, not at {}",
                             entry.offset > end ? "there is a hole" : "tensors overlap",
                             Printable(entry.name), entry.offset, end));
    }
    end += entry.length;
  }
  if (end > data_bytes) {
    return Bad(fmt::format("it is cut short: its tensors have {} bytes, and {} are there", end,
                           data_bytes));
  }
  if (end < data_bytes) {
    return Bad(fmt::format("{} bytes after the last tensor belong to none", data_bytes - end));
  }
  return SafetensorsHeader{.entries = std::move(reader.entries),
                           .metadata = std::move(reader.metadata),
                           .data_begin = kAlignment + json.size(),
                           .data_bytes = data_bytes};
}

absl::StatusOr<std::string> BuildSafetensorsHeader(
    std::vector<Entry>& entries, const std::map<std::string, std::string>& metadata) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    const size_t size_a = ElementBytes(a.dtype), size_b = ElementBytes(b.dtype);
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadata] = metadata;
  std::set<std::string_view> names{kMetadata};
  // An ordered_json object looks keys up one by one: many are appended quicker.
  auto& fields = header.get_ref<nlohmann::ordered_json::object_t&>();
  uint64_t offset = 0;
  for (Entry& entry : entries) {
    RETURN_IF_ERROR(CheckEntryName(entry.name));
    if (!names.insert(entry.name).second) {
      return Bad(fmt::format("entry {}: the name is taken", Printable(entry.name)));
    }
    if (!Representable(entry.dtype)) {
      return Bad(fmt::format("entry {} is {}, which .safetensors cannot hold",
                             Printable(entry.name), DTypeName(entry.dtype)));
    }
    ASSIGN_OR_RETURN(entry.length, TensorBytes(entry.dtype, entry.shape));
    entry.offset = offset;
    offset += entry.length;
    nlohmann::ordered_json tensor;
    tensor["dtype"] = DTypeName(entry.dtype);
    tensor["shape"] = entry.shape;
    tensor["data_offsets"] = {entry.offset, offset};
    fields.push_back({entry.name, std::move(tensor)});
  }
  std::string json = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  json.append((kAlignment - json.size() % kAlignment) % kAlignment, ' ');
  if (json.size() > kMaxSafetensorsHeaderBytes) {
    return Bad(fmt::format("the header would have {} bytes, and at most {} are allowed",
                           json.size(), kMaxSafetensorsHeaderBytes));
  }
  const uint64_t length = json.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + json;
}

}  // namespace ckpt
