#include "daemon/chunks/pack_directory.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace ckptd {

absl::StatusOr<std::unique_ptr<PackDirectory>> PackDirectory::Open(os::FileSystem* fs,
                                                                   Layout layout) {
  std::unique_ptr<PackDirectory> directory(new PackDirectory(fs, std::move(layout)));
  const std::string packs = directory->layout_.Packs();
  RETURN_IF_ERROR(fs->CreateDirs(packs).status());
  RETURN_IF_ERROR(fs->SyncDir(directory->layout_.dir()));
  ASSIGN_OR_RETURN(const std::vector<PackId> ids, directory->List());
  for (const PackId id : ids) {
    ASSIGN_OR_RETURN(const uint64_t bytes, fs->AllocatedBytes(directory->layout_.Pack(id)));
    absl::MutexLock lock(&directory->mutex_);
    directory->SetAllocated(id, bytes);
  }
  return directory;
}

absl::StatusOr<std::unique_ptr<os::File>> PackDirectory::Create(PackId id) {
  RETURN_IF_ERROR(fs_->CreateDirs(layout_.PackDir(id)).status());
  ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, fs_->CreateForAppend(layout_.Pack(id)));
  absl::MutexLock lock(&mutex_);
  SetAllocated(id, 0);
  return file;
}

absl::StatusOr<std::unique_ptr<os::File>> PackDirectory::OpenForRead(PackId id) {
  return ToRead(id, fs_->OpenForRead(layout_.Pack(id)));
}

absl::StatusOr<std::unique_ptr<os::File>> PackDirectory::OpenDirect(PackId id) {
  return ToRead(id, fs_->OpenDirect(layout_.Pack(id)));
}

absl::StatusOr<std::unique_ptr<os::File>> PackDirectory::ToRead(
    PackId id, absl::StatusOr<std::unique_ptr<os::File>> file) {
  if (!absl::IsNotFound(file.status()) || fs_->List(layout_.PackDir(id)).ok()) return file;
  return ckpt::MakeError(absl::StatusCode::kUnavailable, ckpt::reason::kIoError,
                         fmt::format("{} is not there, nor is the directory it lies in; is the "
                                     "disk mounted?",
                                     layout_.Pack(id)));
}

absl::StatusOr<std::unique_ptr<os::File>> PackDirectory::OpenForUpdate(PackId id) {
  return fs_->OpenForUpdate(layout_.Pack(id));
}

absl::Status PackDirectory::SyncNames(PackId id) {
  const std::string dir = layout_.PackDir(id);
  RETURN_IF_ERROR(fs_->SyncDir(dir));
  {
    absl::MutexLock lock(&mutex_);
    if (durable_dirs_.contains(dir)) return absl::OkStatus();
  }
  // Whoever created `dir`, possibly before a crash, may not have come to this.
  RETURN_IF_ERROR(fs_->SyncDir(layout_.Packs()));
  absl::MutexLock lock(&mutex_);
  durable_dirs_.insert(dir);
  return absl::OkStatus();
}

absl::Status PackDirectory::Remove(PackId id) {
  const absl::Status removed = fs_->Remove(layout_.Pack(id));
  if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
  {
    absl::MutexLock lock(&mutex_);
    SetAllocated(id, 0);
    allocated_.erase(id);
  }
  return removed.ok() ? fs_->SyncDir(layout_.PackDir(id)) : absl::OkStatus();
}

absl::StatusOr<std::vector<PackId>> PackDirectory::List() {
  std::vector<PackId> ids;
  ASSIGN_OR_RETURN(const std::vector<std::string> dirs, fs_->List(layout_.Packs()));
  for (const std::string& dir : dirs) {
    if (dir == Layout::kJournal || dir.starts_with(Layout::kAside)) continue;
    const std::string path = layout_.Packs() + "/" + dir;
    absl::StatusOr<std::vector<std::string>> names = fs_->List(path);
    if (!names.ok()) {
      if (dir.size() == 2) return names.status();
      spdlog::warn("{} is no directory of packs and is left alone", path);
      continue;
    }
    for (const std::string& name : *names) {
      const std::optional<PackId> id = ParsePackName(name);
      if (id.has_value() && layout_.Pack(*id) == path + "/" + name) {
        ids.push_back(*id);
      } else {
        spdlog::warn("{}/{} is no pack and is left alone", path, name);
      }
    }
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

void PackDirectory::Measure(PackId id, os::File& file) {
  const absl::StatusOr<uint64_t> bytes = file.AllocatedBytes();
  if (!bytes.ok()) {
    spdlog::warn("space of pack {:016x} is not known: {}", id,
                 std::string(bytes.status().message()));
    return;
  }
  absl::MutexLock lock(&mutex_);
  // Not for one that was removed in the meantime and is only still open.
  if (allocated_.contains(id)) SetAllocated(id, *bytes);
}

void PackDirectory::Grow(PackId id, uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  // As in Measure: a writer may not know yet that its pack was removed.
  if (auto it = allocated_.find(id); it != allocated_.end()) SetAllocated(id, it->second + bytes);
}

absl::StatusOr<Usage> PackDirectory::GetUsage() {
  Usage usage;
  ASSIGN_OR_RETURN(usage.free_bytes, fs_->FreeBytes(layout_.dir()));
  absl::MutexLock lock(&mutex_);
  usage.disk_bytes = total_;
  return usage;
}

void PackDirectory::SetAllocated(PackId id, uint64_t bytes) {
  uint64_t& slot = allocated_[id];
  total_ = total_ - slot + bytes;
  slot = bytes;
}

}  // namespace ckptd
