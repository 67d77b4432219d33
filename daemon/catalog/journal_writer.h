// Writes the journal's files (journal_file.h).
//
// A record whose sync failed may be there or not, and what follows it in the file
// may be lost in silence. So such a file is never appended to again: the next
// record begins a new one where the last good one ended, which supersedes
// whatever the old file has after that.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "daemon/catalog/journal_file.h"
#include "daemon/catalog/snapshot_file.h"
#include "daemon/os/file_system.h"
#include "proto/status.h"

namespace ckptd::catalog {

// Records are written by one thread at a time, a snapshot beside them by another.
class JournalWriter {
 public:
  // `last_number`: no file has a higher one.
  JournalWriter(os::FileSystem* fs, std::string dir, uint64_t last_number)
      : fs_(fs), dir_(std::move(dir)), number_(last_number) {}

  // Goes on in an existing file after its first `bytes`. `since_snapshot`: of all
  // records since the newest snapshot.
  absl::Status Continue(uint64_t number, uint64_t bytes, uint64_t since_snapshot);
  // Begins the next file, durably; makes the folder if there is none. Where that
  // fails, and is sure to have left nothing, appends go on in the old one.
  absl::Status Begin(const Head& head);
  // Whether Append is possible; otherwise Begin is to be called first.
  bool ready() const { return file_ != nullptr; }

  // Makes the record of the transaction after `before`; where it leads.
  Position Prepare(const Position& before, std::string_view changes);
  // Durable when OK. After a failure either nothing of it is left, or ready() is
  // false.
  absl::Status Append();
  // What was appended last did not come to be. As after a failure of Append.
  void TakeBack();

  // Of the file that records go to.
  uint64_t number() const { return file_number_; }
  // Makes the snapshot `number` of what `produce` gives to its sink, durably; its
  // bytes.
  absl::StatusOr<uint64_t> WriteSnapshot(
      uint64_t number, const std::function<absl::Status(const ByteSink&)>& produce);
  // Removes all files of lower numbers.
  absl::Status RemoveBefore(uint64_t number);

  uint64_t since_snapshot() const { return since_snapshot_; }

 private:
  // Makes what follows the first bytes_ of the file go, or else gives it up.
  void CutOff();
  std::string PathOf(const JournalName& name) const { return dir_ + "/" + ToString(name); }

  os::FileSystem* const fs_;
  const std::string dir_;
  uint64_t number_;  // of the file begun last
  uint64_t file_number_ = 0;
  std::unique_ptr<os::File> file_;
  uint64_t bytes_ = 0;  // of the file, up to the end of the last record
  FrameWriter frames_;
  std::span<const std::byte> prepared_;
  std::atomic<uint64_t> since_snapshot_ = 0;
};

}  // namespace ckptd::catalog
