#include "daemon/catalog/journal_writer.h"

#include <utility>

namespace ckptd::catalog {

absl::Status JournalWriter::Continue(uint64_t number, uint64_t bytes, uint64_t since_snapshot) {
  ASSIGN_OR_RETURN(file_, fs_->OpenForUpdate(PathOf({number, false})));
  file_number_ = number;
  bytes_ = bytes;
  since_snapshot_ = since_snapshot;
  return absl::OkStatus();
}

absl::Status JournalWriter::Begin(const Head& head) {
  ASSIGN_OR_RETURN(const std::vector<std::string> changed, fs_->CreateDirs(dir_));
  for (const std::string& dir : changed) RETURN_IF_ERROR(fs_->SyncDir(dir));
  const std::string path = PathOf({number_ + 1, false});
  ASSIGN_OR_RETURN(std::unique_ptr<os::File> file, fs_->CreateForAppend(path));
  ++number_;
  ckpt::Digest digest;
  const auto frame = frames_.Encode(FrameKind::kHead, 0, {}, EncodeHead(head), digest);
  absl::Status status = file->Write(0, frame);
  if (status.ok()) status = file->SyncData();
  if (status.ok()) status = fs_->SyncDir(dir_);
  if (!status.ok()) {
    // Should it be there after all, it supersedes what the old file has from
    // here on: then nothing more may go there.
    absl::Status removed = fs_->Remove(path);
    if (removed.ok()) removed = fs_->SyncDir(dir_);
    if (!removed.ok()) file_ = nullptr;
    return status;
  }
  file_ = std::move(file);
  file_number_ = number_;
  bytes_ = frame.size();
  return absl::OkStatus();
}

Position JournalWriter::Prepare(const Position& before, std::string_view changes) {
  Position after = before;
  ++after.sequence;
  prepared_ =
      frames_.Encode(FrameKind::kRecord, after.sequence, before.digest, changes, after.digest);
  return after;
}

absl::Status JournalWriter::Append() {
  if (absl::Status status = file_->Write(bytes_, prepared_); !status.ok()) {
    CutOff();
    return status;
  }
  if (absl::Status status = file_->SyncData(); !status.ok()) {
    file_ = nullptr;
    return status;
  }
  bytes_ += prepared_.size();
  since_snapshot_ += prepared_.size();
  return absl::OkStatus();
}

void JournalWriter::TakeBack() {
  bytes_ -= prepared_.size();
  since_snapshot_ -= prepared_.size();
  CutOff();
}

void JournalWriter::CutOff() {
  absl::Status cut = file_->Truncate(bytes_);
  if (cut.ok()) cut = file_->SyncData();
  if (!cut.ok()) file_ = nullptr;
}

absl::StatusOr<uint64_t> JournalWriter::WriteSnapshot(
    uint64_t number, const std::function<absl::Status(const ByteSink&)>& produce) {
  const uint64_t before = since_snapshot_;
  const std::string path = PathOf({number, true});
  uint64_t at = 0;
  absl::Status status;
  {
    ASSIGN_OR_RETURN(const auto file, fs_->CreateForAppend(path));
    status = produce([&](std::span<const std::byte> bytes) -> absl::Status {
      RETURN_IF_ERROR(file->Write(at, bytes));
      at += bytes.size();
      return absl::OkStatus();
    });
    if (status.ok()) status = file->SyncData();
  }
  if (status.ok()) status = fs_->SyncDir(dir_);
  if (!status.ok()) {
    (void)fs_->Remove(path);  // the first error is the one to tell
    return status;
  }
  since_snapshot_ -= before;
  return at;
}

absl::Status JournalWriter::RemoveBefore(uint64_t number) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_->List(dir_));
  for (const std::string& text : names) {
    const std::optional<JournalName> name = ParseJournalName(text);
    if (!name || name->number >= number) continue;
    RETURN_IF_ERROR(fs_->Remove(dir_ + "/" + text));
  }
  return fs_->SyncDir(dir_);
}

}  // namespace ckptd::catalog
