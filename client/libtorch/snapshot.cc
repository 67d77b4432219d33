#include "client/libtorch/snapshot.h"

#include <algorithm>
#include <utility>

#include <fmt/ranges.h>

#include "client/state.h"

namespace ckpt::libtorch {

absl::StatusOr<Snapshot> Snapshot::Open(const Manifest& manifest, const std::string& document) {
  Snapshot snapshot;
  for (const Entry& entry : manifest.entries) snapshot.entries_.emplace(entry.name, &entry);
  if (!document.empty()) {
    ASSIGN_OR_RETURN(snapshot.document_, ParseStateDocument(document));
  }
  return snapshot;
}

const Entry* Snapshot::Find(const std::string& name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : found->second;
}

std::vector<std::string> Snapshot::KeysUnder(std::string_view prefix) const {
  std::vector<std::string> keys;
  for (auto it = entries_.lower_bound(prefix);
       it != entries_.end() && it->first.starts_with(prefix); ++it) {
    keys.emplace_back(it->first.substr(prefix.size()));
  }
  return keys;
}

const nlohmann::json* Snapshot::Object(const std::string& name) const {
  const auto objects = document_.find("objects");
  if (objects == document_.end() || !objects->is_object()) return nullptr;
  const auto object = objects->find(name);
  return object == objects->end() || !object->is_object() ? nullptr : &*object;
}

std::vector<std::string> Snapshot::ObjectNames() const {
  std::vector<std::string> names;
  const auto objects = document_.find("objects");
  if (objects == document_.end() || !objects->is_object()) return names;
  for (const auto& item : objects->items()) names.push_back(item.key());
  return names;
}

std::string Problems::Text(std::string_view object) const {
  const auto quoted = [](const std::vector<std::string>& keys) {
    return "\"" + fmt::format("{}", fmt::join(keys, "\", \"")) + "\"";
  };
  std::vector<std::string> lines;
  if (!missing.empty()) {
    lines.push_back(fmt::format("Missing key(s) in state_dict: {}. ", quoted(missing)));
  }
  if (!unexpected.empty()) {
    lines.push_back(fmt::format("Unexpected key(s) in state_dict: {}. ", quoted(unexpected)));
  }
  lines.insert(lines.end(), errors.begin(), errors.end());
  return fmt::format("Error(s) in loading state_dict for {}:\n\t{}", object,
                     fmt::join(lines, "\n\t"));
}

std::vector<std::pair<Field, nlohmann::json>> MatchFields(const std::vector<Field>& fields,
                                                          const nlohmann::json& state,
                                                          const std::string& prefix,
                                                          Problems& problems) {
  std::vector<std::pair<Field, nlohmann::json>> matched;
  for (const Field& field : fields) {
    const auto value = state.find(field.name());
    if (value == state.end()) {
      problems.missing.push_back(prefix + field.name());
    } else if (!field.Accepts(*value)) {
      problems.errors.push_back(
          fmt::format("value mismatch for {}: the checkpoint has {}, where "
                      "the current one is {}.",
                      prefix + field.name(), value->dump(), field.Get().dump()));
    } else {
      matched.emplace_back(field, *value);
    }
  }
  if (!state.is_object()) return matched;
  for (const auto& [key, value] : state.items()) {
    const bool off = value.is_null() || value == false;
    const bool known = std::any_of(fields.begin(), fields.end(),
                                   [&key = key](const Field& f) { return f.name() == key; });
    if (!known && !off) problems.unexpected.push_back(prefix + key);
  }
  return matched;
}

}  // namespace ckpt::libtorch
