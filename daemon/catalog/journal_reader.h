// What the journal's files hold: a whole snapshot of the catalog, and the
// records that lead from there to the last transaction.
//
// Records are chained by digests over all files. A later file that begins where
// an earlier one has a record supersedes the rest of the earlier: that rest was
// never acknowledged (journal.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/catalog/journal_file.h"
#include "daemon/os/file_system.h"
#include "proto/status.h"

namespace ckptd::catalog {

// Reads and checks all files, once; nothing may write them meanwhile. Files that
// are damaged are no error here, but said by `lost` or `damaged`.
class JournalReader {
 public:
  // `dir` need not be there. Begins at the snapshot in the file `backup`, where
  // one is given: NOT_FOUND, DATA_LOSS/CATALOG_DAMAGED where it is no whole one.
  static absl::StatusOr<std::unique_ptr<JournalReader>> Open(os::FileSystem* fs, std::string dir,
                                                             const std::string& backup = "");

  bool has_files() const { return last_number_ != 0; }
  uint64_t last_number() const { return last_number_; }
  // The newest whole snapshot; nothing where there is none.
  const std::optional<Head>& start() const { return start_; }
  // Where the records from there lead.
  const Position& end() const { return end_; }
  // Of the last transaction that is known to be missing after the end; 0: none is
  // known. `lost_text` says what is wrong; empty: nothing is missing, though a
  // record may be cut off (`torn`).
  uint64_t lost_to() const { return lost_to_; }
  const std::string& lost_text() const { return lost_text_; }
  // Something follows the end that is no record.
  bool torn() const { return last_ != nullptr && last_->size > last_->bytes; }
  // Anything is not as it was written, be it of no importance.
  bool damaged() const { return damaged_; }

  // Whether records lead from there, none included, to the end.
  bool LeadsOnFrom(const Position& from) const;
  // Their number is end().sequence - from.sequence.
  using Apply = std::function<absl::Status(const Position& after, std::string_view changes)>;
  absl::Status ReadRecords(const Position& from, const Apply& apply) const;
  absl::Status ReadSnapshot(const std::function<absl::Status(std::string_view piece)>& sink) const;

  // Where records can be appended: the file that has the end, and its bytes up
  // to there. Nothing where that is not certain.
  struct Tail {
    uint64_t number = 0, bytes = 0;
  };
  std::optional<Tail> tail() const;
  // Of all records from the snapshot on, and of the snapshot.
  uint64_t record_bytes() const { return record_bytes_; }
  uint64_t snapshot_bytes() const { return snapshot_bytes_; }

 private:
  struct Record {
    uint64_t offset = 0, end = 0;
    ckpt::Digest digest;
  };
  struct Segment {
    uint64_t number = 0;
    Head head;
    std::vector<Record> records;
    uint64_t first = 0;                // where records begin
    uint64_t bytes = 0;                // up to the end of the last record
    uint64_t size = 0;                 // of the file
    uint64_t last_name = 0;            // of the last that seems to be a record, though damaged
    Position At(size_t record) const;  // before the record; records.size(): the last
  };
  struct Step {
    const Segment* segment;
    size_t record;
  };

  JournalReader(os::FileSystem* fs, std::string dir) : fs_(fs), dir_(std::move(dir)) {}
  absl::Status ReadSegment(uint64_t number);
  absl::Status ReadSnapshotHead(const std::string& path);
  absl::Status StartFrom(const std::string& backup);
  // From start_ on.
  void FindEnd();
  // The records from `from` on; `last` gets the segment where they end.
  std::vector<Step> Chain(const Position& from, const Segment** last) const;
  void FindLost();
  std::string PathOf(const JournalName& name) const { return dir_ + "/" + ToString(name); }

  os::FileSystem* const fs_;
  const std::string dir_;
  std::vector<Segment> segments_;   // ascending
  std::vector<uint64_t> headless_;  // records whose beginning is damaged
  std::optional<Head> start_;
  std::string start_path_;
  uint64_t last_number_ = 0;
  Position end_;
  const Segment* last_ = nullptr;
  uint64_t record_bytes_ = 0, snapshot_bytes_ = 0;
  uint64_t lost_to_ = 0;
  std::string lost_text_;
  bool damaged_ = false;
};

}  // namespace ckptd::catalog
