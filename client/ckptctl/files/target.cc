#include "client/ckptctl/files/target.h"

#include <fmt/format.h>

#include "client/state.h"
#include "proto/digest.h"

namespace ckpt::ctl {
namespace {

constexpr size_t kMaxFileNameBytes = 200;

// `state` counters of an optimizer: OBJECT/state/INDEX/KEY, a single number.
bool IsCounter(const Entry& entry) {
  return entry.is_tensor() && entry.length <= 8 &&
         entry.name.find("/state/") != std::string::npos &&
         (entry.shape.empty() || (entry.shape.size() == 1 && entry.shape[0] == 1));
}

}  // namespace

TargetKind TargetKindOf(const std::string& path) {
  if (path.ends_with(".safetensors")) return TargetKind::kSafetensors;
  for (const char* ending : {".pt", ".pth", ".ckpt"}) {
    if (path.ends_with(ending)) return TargetKind::kTorch;
  }
  return TargetKind::kDirectory;
}

std::vector<std::string> ValuesNeeded(TargetKind kind, const Manifest& manifest,
                                      const std::vector<size_t>& entries) {
  std::vector<std::string> names;
  if (kind == TargetKind::kDirectory) return names;
  for (size_t i : entries) {
    const Entry& entry = manifest.entries[i];
    const bool wanted = kind == TargetKind::kTorch
                            ? IsCounter(entry)
                            : !entry.is_tensor() && entry.length <= kMaxMetadataEntryBytes;
    if (wanted || entry.name == kStateDocument) names.push_back(entry.name);
  }
  // The document explains the others, also where it was not asked for.
  if (kind == TargetKind::kTorch && manifest.Find(kStateDocument) != nullptr &&
      std::find(names.begin(), names.end(), kStateDocument) == names.end()) {
    names.emplace_back(kStateDocument);
  }
  return names;
}

absl::StatusOr<std::unique_ptr<Target>> Target::Create(TargetKind kind, const std::string& path,
                                                       const ShardView& shard, bool replace) {
  switch (kind) {
    case TargetKind::kSafetensors:
      return CreateSafetensorsTarget(path, shard, replace);
    case TargetKind::kTorch:
      return CreateTorchTarget(path, shard, replace);
    case TargetKind::kDirectory:
      break;
  }
  return CreateDirectoryTarget(path, shard, replace);
}

std::string EscapedFileName(const std::string& entry) {
  std::string name;
  for (unsigned char c : entry) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '_' || c == '-' || (c == '.' && !name.empty());
    name += plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  if (name.size() > kMaxFileNameBytes) {
    name = name.substr(0, kMaxFileNameBytes - 17) + "~" + HashBytes(entry).Hex().substr(0, 16);
  }
  return name;
}

std::string MetricText(double value) { return fmt::format("{}", value); }

}  // namespace ckpt::ctl
