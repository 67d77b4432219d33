#include "tests/testing/faulty_file_system.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "daemon/os/error.h"

namespace ckptd::os {
namespace {

bool Changes(Op op) { return op != Op::kOpen && op != Op::kRead; }

}  // namespace

std::string_view OpName(Op op) {
  switch (op) {
    case Op::kCreate:
      return "create";
    case Op::kOpen:
      return "open";
    case Op::kRead:
      return "read";
    case Op::kWrite:
      return "write";
    case Op::kSyncData:
      return "sync";
    case Op::kSyncDir:
      return "sync directory";
    case Op::kTruncate:
      return "truncate";
    case Op::kPunch:
      return "punch";
    case Op::kRemove:
      return "remove";
    case Op::kRename:
      return "rename";
    case Op::kCreateDirs:
      return "create directory";
    case Op::kReplace:
      return "replace";
    case Op::kAllocate:
      return "allocate";
  }
  return "?";
}

// A file opened through the faulty one; dead once the power was cut.
class FaultyFile final : public File {
 public:
  FaultyFile(FaultyFileSystem* fs, std::unique_ptr<File> real, int boot)
      : fs_(fs), real_(std::move(real)), boot_(boot) {}

  const std::string& path() const override { return real_->path(); }

  absl::Status Write(uint64_t offset, std::span<const std::byte> bytes) override {
    absl::MutexLock lock(&fs_->mutex_);
    RETURN_IF_ERROR(CheckAlive());
    const std::optional<FaultyFileSystem::Fault> fault = fs_->Begin(Op::kWrite, path());
    if (fault.has_value()) return FailWrite(*fault, offset, bytes);
    RETURN_IF_ERROR(fs_->Remember(path(), offset, bytes.size()));
    return WriteAny(offset, bytes);
  }

  void StartWrite(uint64_t offset, std::span<const std::byte> bytes, WriteDone done) override {
    std::function<void()> act;
    {
      absl::MutexLock lock(&fs_->mutex_);
      absl::Status status = CheckAlive();
      if (status.ok()) {
        if (const auto fault = fs_->Begin(Op::kWrite, path()); fault.has_value()) {
          status = FailWrite(*fault, offset, bytes);
        } else {
          status = fs_->Remember(path(), offset, bytes.size());
        }
      }
      if (status.ok()) {
        ++fs_->under_way_;
        act = [this, offset, bytes, done = std::move(done)] {
          real_->StartWrite(offset, bytes, [fs = fs_, done](const absl::Status& result) {
            done(result);
            absl::MutexLock lock(&fs->mutex_);
            --fs->under_way_;
          });
        };
      } else {
        act = [status, done = std::move(done)] { done(status); };
      }
      if (fs_->holding_) {
        fs_->held_.push_back(std::move(act));
        return;
      }
    }
    act();
  }

  absl::StatusOr<bool> Allocate(uint64_t size) override {
    absl::MutexLock lock(&fs_->mutex_);
    RETURN_IF_ERROR(CheckAlive());
    RETURN_IF_ERROR(fs_->BeginOrFail(Op::kAllocate, path()));
    return real_->Allocate(size);
  }

  absl::StatusOr<size_t> Read(uint64_t offset, std::span<std::byte> out) override {
    absl::MutexLock lock(&fs_->mutex_);
    RETURN_IF_ERROR(CheckAlive());
    RETURN_IF_ERROR(fs_->BeginOrFail(Op::kRead, path()));
    return real_->Read(offset, out);
  }

  absl::StatusOr<std::unique_ptr<SharedBytes>> View(uint64_t offset, size_t length) override {
    absl::MutexLock lock(&fs_->mutex_);
    RETURN_IF_ERROR(CheckAlive());
    RETURN_IF_ERROR(fs_->BeginOrFail(Op::kRead, path()));
    return real_->View(offset, length);
  }

  absl::Status SyncData() override {
    absl::MutexLock lock(&fs_->mutex_);
    RETURN_IF_ERROR(CheckAlive());
    const auto it = fs_->unsynced_.find(path());
    if (absl::Status status = fs_->BeginOrFail(Op::kSyncData, path()); !status.ok()) {
      if (it != fs_->unsynced_.end() && !fs_->off_) it->second.lost = true;
      return status;
    }
    RETURN_IF_ERROR(real_->SyncData());
    if (it != fs_->unsynced_.end() && !it->second.lost) fs_->unsynced_.erase(it);
    return absl::OkStatus();
  }

  absl::Status Truncate(uint64_t size) override {
    absl::MutexLock lock(&fs_->mutex_);
    RETURN_IF_ERROR(CheckAlive());
    RETURN_IF_ERROR(fs_->BeginOrFail(Op::kTruncate, path()));
    RETURN_IF_ERROR(real_->Truncate(size));
    if (const auto it = fs_->unsynced_.find(path()); it != fs_->unsynced_.end()) {
      it->second.durable_size = std::min(it->second.durable_size, size);
      it->second.before.erase(it->second.before.lower_bound(RoundUpToBlock(size) / kBlockBytes),
                              it->second.before.end());
    }
    return absl::OkStatus();
  }

  absl::Status PunchHole(uint64_t offset, uint64_t length) override {
    absl::MutexLock lock(&fs_->mutex_);
    RETURN_IF_ERROR(CheckAlive());
    RETURN_IF_ERROR(fs_->BeginOrFail(Op::kPunch, path()));
    return real_->PunchHole(offset, length);
  }

  absl::StatusOr<uint64_t> Size() override { return real_->Size(); }
  absl::StatusOr<uint64_t> AllocatedBytes() override { return real_->AllocatedBytes(); }
  void Prefetch(uint64_t offset, uint64_t length) override { real_->Prefetch(offset, length); }

  // Blocks that a failed SyncData has lost were only ever in memory.
  void DropCache() override {
    absl::MutexLock lock(&fs_->mutex_);
    const auto it = fs_->unsynced_.find(path());
    if (it != fs_->unsynced_.end() && it->second.lost &&
        fs_->Revert(path(), it->second, nullptr).ok()) {
      fs_->unsynced_.erase(it);
    }
    real_->DropCache();
  }

 private:
  absl::Status CheckAlive() ABSL_EXCLUSIVE_LOCKS_REQUIRED(fs_->mutex_) {
    return boot_ == fs_->boots_ ? absl::OkStatus() : ErrnoError(EIO, "use", path());
  }

  absl::Status FailWrite(const FaultyFileSystem::Fault& fault, uint64_t offset,
                         std::span<const std::byte> bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fs_->mutex_) {
    if (const size_t written = std::min(fault.written, bytes.size()); written > 0) {
      RETURN_IF_ERROR(fs_->Remember(path(), offset, written));
      RETURN_IF_ERROR(WriteAny(offset, bytes.first(written)));
    }
    return ErrnoError(fault.error, "write", path());
  }

  // A write cut short need not end at a block, as direct I/O would want.
  absl::Status WriteAny(uint64_t offset, std::span<const std::byte> bytes) {
    if (bytes.size() % kBlockBytes == 0) return real_->Write(offset, bytes);
    ASSIGN_OR_RETURN(const std::unique_ptr<File> plain, fs_->real_->OpenForUpdate(path()));
    return plain->Write(offset, bytes);
  }

  FaultyFileSystem* const fs_;
  const std::unique_ptr<File> real_;
  const int boot_;
};

void FaultyFileSystem::FailNth(Op op, int n, int error) {
  absl::MutexLock lock(&mutex_);
  faults_[{op, counts_[op] + n}] = {.error = error};
}

void FaultyFileSystem::ShortenNthWrite(int n, size_t bytes, int error) {
  absl::MutexLock lock(&mutex_);
  faults_[{Op::kWrite, counts_[Op::kWrite] + n}] = {.error = error, .written = bytes};
}

void FaultyFileSystem::CutPowerAt(int n) {
  absl::MutexLock lock(&mutex_);
  cut_at_ = changes_ + n;
}

bool FaultyFileSystem::power_is_off() const {
  absl::MutexLock lock(&mutex_);
  return off_;
}

int FaultyFileSystem::count(Op op) const {
  absl::MutexLock lock(&mutex_);
  const auto it = counts_.find(op);
  return it == counts_.end() ? 0 : it->second;
}

int FaultyFileSystem::changes() const {
  absl::MutexLock lock(&mutex_);
  return changes_;
}

void FaultyFileSystem::Spare(std::string part) {
  absl::MutexLock lock(&mutex_);
  spared_ = std::move(part);
}

void FaultyFileSystem::HoldWrites() {
  absl::MutexLock lock(&mutex_);
  holding_ = true;
}

void FaultyFileSystem::ReleaseWrites() {
  std::vector<std::function<void()>> held;
  {
    absl::MutexLock lock(&mutex_);
    holding_ = false;
    held.swap(held_);
  }
  for (const std::function<void()>& act : held) act();
}

size_t FaultyFileSystem::held_writes() const {
  absl::MutexLock lock(&mutex_);
  return held_.size();
}

void FaultyFileSystem::AwaitWrites() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](int* under_way) { return *under_way == 0; }, &under_way_));
}

absl::Status FaultyFileSystem::PowerCut(const KeepBlock& kept) {
  AwaitWrites();
  absl::MutexLock lock(&mutex_);
  for (const auto& [path, unsynced] : unsynced_) {
    if (absl::Status status = Revert(path, unsynced, kept);
        !status.ok() && !absl::IsNotFound(status)) {
      return status;
    }
  }
  unsynced_.clear();
  for (const std::string& path : new_names_) {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    if (error) return ErrnoError(error.value(), "remove", path);
  }
  new_names_.clear();
  faults_.clear();
  cut_at_.reset();
  off_ = false;
  ++boots_;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<File>> FaultyFileSystem::CreateForAppend(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginOrFail(Op::kCreate, path));
  absl::StatusOr<std::unique_ptr<File>> file = real_->CreateForAppend(path);
  if (file.ok()) new_names_.insert(path);
  return Wrap(std::move(file));
}

absl::StatusOr<std::unique_ptr<File>> FaultyFileSystem::OpenForRead(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginOrFail(Op::kOpen, path));
  return Wrap(real_->OpenForRead(path));
}

absl::StatusOr<std::unique_ptr<File>> FaultyFileSystem::OpenForUpdate(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginOrFail(Op::kOpen, path));
  return Wrap(real_->OpenForUpdate(path));
}

absl::StatusOr<std::unique_ptr<File>> FaultyFileSystem::OpenDirect(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginOrFail(Op::kOpen, path));
  return Wrap(real_->OpenDirect(path));
}

absl::Status FaultyFileSystem::SyncDir(const std::string& dir) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginOrFail(Op::kSyncDir, dir));
  RETURN_IF_ERROR(real_->SyncDir(dir));
  std::erase_if(new_names_, [&](const std::string& path) { return ParentDir(path) == dir; });
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FaultyFileSystem::CreateDirs(const std::string& dir) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginOrFail(Op::kCreateDirs, dir));
  ASSIGN_OR_RETURN(std::vector<std::string> changed, real_->CreateDirs(dir));
  std::string created = dir;
  for (size_t i = 0; i < changed.size(); ++i, created = ParentDir(created)) {
    new_names_.insert(created);
  }
  return changed;
}

absl::StatusOr<std::vector<std::string>> FaultyFileSystem::List(const std::string& dir) {
  return real_->List(dir);
}

absl::Status FaultyFileSystem::Remove(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginOrFail(Op::kRemove, path));
  RETURN_IF_ERROR(real_->Remove(path));
  unsynced_.erase(path);
  new_names_.erase(path);
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::Rename(const std::string& from, const std::string& to) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginOrFail(Op::kRename, from));
  RETURN_IF_ERROR(real_->Rename(from, to));
  new_names_.erase(from);
  new_names_.erase(to);
  unsynced_.erase(to);
  if (auto unsynced = unsynced_.extract(from)) {
    unsynced.key() = to;
    unsynced_.insert(std::move(unsynced));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> FaultyFileSystem::AllocatedBytes(const std::string& path) {
  return real_->AllocatedBytes(path);
}

void FaultyFileSystem::SetFreeBytes(std::optional<uint64_t> bytes) {
  absl::MutexLock lock(&mutex_);
  free_bytes_ = bytes;
}

absl::StatusOr<uint64_t> FaultyFileSystem::FreeBytes(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  if (free_bytes_) return *free_bytes_;
  return real_->FreeBytes(path);
}

absl::Status FaultyFileSystem::CheckWritable(const std::string& dir) {
  return real_->CheckWritable(dir);
}

absl::StatusOr<std::unique_ptr<FileLock>> FaultyFileSystem::Lock(const std::string& path) {
  return real_->Lock(path);
}

absl::StatusOr<std::string> FaultyFileSystem::ReadFile(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginOrFail(Op::kRead, path));
  return real_->ReadFile(path);
}

absl::Status FaultyFileSystem::ReplaceFile(const std::string& path, std::string_view contents) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(BeginOrFail(Op::kReplace, path));
  return real_->ReplaceFile(path, contents);
}

std::optional<FaultyFileSystem::Fault> FaultyFileSystem::Begin(Op op, const std::string& path) {
  if (off_) return Fault{.error = EIO};
  if (!spared_.empty() && path.find(spared_) != std::string::npos) return std::nullopt;
  const int count = ++counts_[op];
  if (Changes(op)) ++changes_;
  if (cut_at_.has_value() && changes_ >= *cut_at_) off_ = true;
  if (off_) return Fault{.error = EIO};
  const auto it = faults_.find({op, count});
  return it == faults_.end() ? std::nullopt : std::optional(it->second);
}

absl::Status FaultyFileSystem::BeginOrFail(Op op, const std::string& path) {
  const std::optional<Fault> fault = Begin(op, path);
  return fault.has_value() ? ErrnoError(fault->error, OpName(op), path) : absl::OkStatus();
}

absl::Status FaultyFileSystem::Remember(const std::string& path, uint64_t offset, uint64_t length) {
  const absl::StatusOr<std::unique_ptr<File>> opened = real_->OpenForRead(path);
  // What is removed and only still open has nothing that a power cut could take back.
  if (absl::IsNotFound(opened.status())) return absl::OkStatus();
  RETURN_IF_ERROR(opened.status());
  File* const file = opened->get();
  auto it = unsynced_.find(path);
  if (it == unsynced_.end()) {
    ASSIGN_OR_RETURN(const uint64_t size, file->Size());
    it = unsynced_.emplace(path, Unsynced{.durable_size = size}).first;
  }
  for (uint64_t block = offset / kBlockBytes; block * kBlockBytes < offset + length; ++block) {
    if (it->second.before.contains(block)) continue;
    std::vector<std::byte> bytes(kBlockBytes);
    RETURN_IF_ERROR(file->Read(block * kBlockBytes, bytes).status());
    it->second.before.emplace(block, std::move(bytes));
  }
  return absl::OkStatus();
}

absl::Status FaultyFileSystem::Revert(const std::string& path, const Unsynced& unsynced,
                                      const KeepBlock& kept) {
  ASSIGN_OR_RETURN(const std::unique_ptr<File> file, real_->OpenForUpdate(path));
  ASSIGN_OR_RETURN(const uint64_t seen_size, file->Size());
  uint64_t size = unsynced.durable_size;
  for (const auto& [block, bytes] : unsynced.before) {
    if (kept != nullptr && !unsynced.lost && kept(path, block)) {
      size = std::max(size, std::min(seen_size, (block + 1) * kBlockBytes));
    } else {
      RETURN_IF_ERROR(file->Write(block * kBlockBytes, bytes));
    }
  }
  RETURN_IF_ERROR(file->Truncate(size));
  return file->SyncData();
}

absl::StatusOr<std::unique_ptr<File>> FaultyFileSystem::Wrap(
    absl::StatusOr<std::unique_ptr<File>> file) {
  if (!file.ok()) return file;
  return std::make_unique<FaultyFile>(this, *std::move(file), boots_);
}

}  // namespace ckptd::os
