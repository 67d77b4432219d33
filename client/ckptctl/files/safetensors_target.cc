// A .safetensors file: the tensors under their entries' names, and in the
// metadata where they come from and the small opaque entries.
#include <sys/stat.h>

#include <absl/strings/escaping.h>
#include <fmt/ranges.h>

#include "client/ckptctl/files/atomic_file.h"
#include "client/ckptctl/files/target.h"
#include "client/safetensors.h"
#include "client/state.h"
#include "proto/names.h"

namespace ckpt::ctl {
namespace {

class SafetensorsTarget final : public Target {
 public:
  SafetensorsTarget(const Manifest& manifest, std::vector<size_t> streamed,
                    std::vector<std::string> notes)
      : manifest_(manifest) {
    streamed_ = std::move(streamed);
    notes_ = std::move(notes);
  }

  absl::Status Begin(const std::string& path, const std::map<std::string, std::string>& metadata,
                     bool replace) {
    struct stat info {};
    if (!replace && lstat(path.c_str(), &info) == 0) return FileError(EEXIST, "create", path);
    std::vector<Entry> entries;
    for (size_t i : streamed_) entries.push_back(manifest_.entries[i]);
    ASSIGN_OR_RETURN(writer_, SafetensorsWriter::Create(path, std::move(entries), metadata));
    return absl::OkStatus();
  }

  absl::Status Write(size_t index, uint64_t offset, std::span<const std::byte> bytes) override {
    return writer_->Write(manifest_.entries[index].name, offset, bytes);
  }
  absl::Status Finish() override { return writer_->Finish(); }

 private:
  const Manifest& manifest_;
  std::unique_ptr<SafetensorsWriter> writer_;
};

std::map<std::string, std::string> Metadata(const ShardView& shard) {
  const Checkpoint& checkpoint = *shard.checkpoint;
  std::map<std::string, std::string> metadata = {
      {"format", "pt"},  // what transformers and others ask for
      {"run", checkpoint.run.ToString()},
      {"step", fmt::format("{}", checkpoint.step)},
      {"checkpoint_id", fmt::format("{}", checkpoint.id)}};
  if (checkpoint.world_size > 1) {
    metadata["rank"] = fmt::format("{}", shard.rank);
    metadata["world_size"] = fmt::format("{}", checkpoint.world_size);
  }
  for (const auto& [name, value] : checkpoint.metrics) {
    metadata["metric:" + name] = MetricText(value);
  }
  for (const auto& [key, value] : checkpoint.labels) metadata["label:" + key] = value;
  return metadata;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Target>> CreateSafetensorsTarget(const std::string& path,
                                                                const ShardView& shard,
                                                                bool replace) {
  std::map<std::string, std::string> metadata = Metadata(shard);
  std::vector<size_t> tensors;
  std::vector<std::string> left_out, notes;
  size_t in_metadata = 0;
  for (size_t i : shard.entries) {
    const Entry& entry = shard.manifest->entries[i];
    if (entry.is_tensor()) {
      tensors.push_back(i);
    } else if (auto value = shard.values.find(entry.name); value != shard.values.end()) {
      ++in_metadata;
      // The document is text, and of use to readers as it is.
      metadata[entry.name == kStateDocument ? entry.name : kBytesEntryPrefix + entry.name] =
          entry.name == kStateDocument ? value->second : absl::Base64Escape(value->second);
    } else {
      left_out.push_back(Printable(entry.name));
    }
  }
  if (tensors.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kBadField,
                     "there is no tensor among the entries wanted, and a .safetensors file holds "
                     "nothing else; fetch to a directory instead");
  }
  if (in_metadata > 0) {
    notes.push_back(
        fmt::format("{} that {} no tensor {} put into the file's metadata",
                    in_metadata == 1 ? "1 entry" : fmt::format("{} entries", in_metadata),
                    in_metadata == 1 ? "is" : "are", in_metadata == 1 ? "was" : "were"));
  }
  if (!left_out.empty()) {
    notes.push_back(
        fmt::format("left out, as too large for the metadata and no tensor: {}; fetch "
                    "to a directory to have them",
                    fmt::join(left_out, ", ")));
  }
  auto target =
      std::make_unique<SafetensorsTarget>(*shard.manifest, std::move(tensors), std::move(notes));
  RETURN_IF_ERROR(target->Begin(path, metadata, replace));
  return target;
}

}  // namespace ckpt::ctl
