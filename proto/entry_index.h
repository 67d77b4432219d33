// Looking up many entries of a manifest by their names.
#pragma once

#include <string_view>
#include <unordered_map>

#include "proto/model.h"

namespace ckpt {

// Points into the manifest, which has to stay.
inline std::unordered_map<std::string_view, const Entry*> EntriesByName(const Manifest& manifest) {
  std::unordered_map<std::string_view, const Entry*> entries;
  entries.reserve(manifest.entries.size());
  for (const Entry& entry : manifest.entries) entries.emplace(entry.name, &entry);
  return entries;
}

}  // namespace ckpt
