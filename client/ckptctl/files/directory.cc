// A directory: one file an entry, and manifest.json that says what they are.
#include <nlohmann/json.hpp>

#include "client/ckptctl/files/atomic_file.h"
#include "client/ckptctl/files/target.h"
#include "client/state.h"

namespace ckpt::ctl {
namespace {

constexpr char kManifestFile[] = "manifest.json";

class DirectoryTarget final : public Target {
 public:
  DirectoryTarget(std::unique_ptr<AtomicDirectory> directory, const ShardView& shard)
      : directory_(std::move(directory)), manifest_(*shard.manifest) {}

  absl::Status Begin(const ShardView& shard) {
    nlohmann::json metrics = nlohmann::json::object();
    for (const auto& [name, value] : shard.checkpoint->metrics) metrics[name] = DoubleToJson(value);
    nlohmann::json entries = nlohmann::json::array();
    for (size_t i : shard.entries) {
      const Entry& entry = manifest_.entries[i];
      nlohmann::json item = {{"name", entry.name},
                             {"file", FileName(entry)},
                             {"dtype", DTypeName(entry.dtype)},
                             {"bytes", entry.length}};
      if (entry.is_tensor()) item["shape"] = entry.shape;
      if (!entry.global_shape.empty()) {
        item["global_shape"] = entry.global_shape;
        item["global_offset"] = entry.global_offset;
      }
      entries.push_back(std::move(item));
      if (entry.length > 0) {
        streamed_.push_back(i);
      } else {
        RETURN_IF_ERROR(directory_->Open(FileName(entry), 0));
      }
    }
    const nlohmann::json document = {{"format", "ckpt.directory.v1"},
                                     {"project", shard.checkpoint->run.project},
                                     {"run", shard.checkpoint->run.run},
                                     {"id", shard.checkpoint->id},
                                     {"step", shard.checkpoint->step},
                                     {"rank", shard.rank},
                                     {"world_size", shard.checkpoint->world_size},
                                     {"metrics", metrics},
                                     {"labels", shard.checkpoint->labels},
                                     {"entries", std::move(entries)}};
    const std::string text =
        document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    RETURN_IF_ERROR(directory_->Open(kManifestFile, text.size()));
    RETURN_IF_ERROR(directory_->WriteAt(0, std::as_bytes(std::span(text))));
    return directory_->Close();
  }

  absl::Status Write(size_t index, uint64_t offset, std::span<const std::byte> bytes) override {
    const Entry& entry = manifest_.entries[index];
    if (offset == 0) RETURN_IF_ERROR(directory_->Open(FileName(entry), entry.length));
    RETURN_IF_ERROR(directory_->WriteAt(offset, bytes));
    return offset + bytes.size() == entry.length ? directory_->Close() : absl::OkStatus();
  }

  absl::Status Finish() override { return directory_->Commit(); }

 private:
  static std::string FileName(const Entry& entry) {
    const std::string name = EscapedFileName(entry.name);
    return name == kManifestFile ? "manifest%2Ejson" : name;
  }

  const std::unique_ptr<AtomicDirectory> directory_;
  const Manifest& manifest_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Target>> CreateDirectoryTarget(const std::string& path,
                                                              const ShardView& shard,
                                                              bool replace) {
  ASSIGN_OR_RETURN(auto directory, AtomicDirectory::Create(path, replace));
  auto target = std::make_unique<DirectoryTarget>(std::move(directory), shard);
  RETURN_IF_ERROR(target->Begin(shard));
  return target;
}

}  // namespace ckpt::ctl
