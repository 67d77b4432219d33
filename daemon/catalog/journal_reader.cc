#include "daemon/catalog/journal_reader.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace ckptd::catalog {
namespace {

const ckpt::Digest kNothing;  // before a head

absl::Status ChangedMeanwhile(const std::string& path) {
  return ckpt::MakeError(
      absl::StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
      fmt::format("{} does not hold any more what it did when the daemon started.", path));
}

}  // namespace

Position JournalReader::Segment::At(size_t record) const {
  Position position = head.position;
  position.sequence += record;
  if (record > 0) position.digest = records[record - 1].digest;
  return position;
}

absl::StatusOr<std::unique_ptr<JournalReader>> JournalReader::Open(os::FileSystem* fs,
                                                                   std::string dir,
                                                                   const std::string& backup) {
  std::unique_ptr<JournalReader> reader(new JournalReader(fs, std::move(dir)));
  absl::StatusOr<std::vector<std::string>> names = fs->List(reader->dir_);
  if (absl::IsNotFound(names.status())) names.emplace();
  if (!names.ok()) return names.status();
  std::vector<uint64_t> snapshots;
  for (const std::string& text : *names) {
    const std::optional<JournalName> name = ParseJournalName(text);
    if (!name) {
      spdlog::warn("{}/{} is no file of the journal and is left alone", reader->dir_, text);
      continue;
    }
    reader->last_number_ = std::max(reader->last_number_, name->number);
    if (name->snapshot) {
      snapshots.push_back(name->number);
    } else {
      RETURN_IF_ERROR(reader->ReadSegment(name->number));
    }
  }
  for (auto it = snapshots.rbegin(); it != snapshots.rend() && !reader->start_; ++it) {
    RETURN_IF_ERROR(reader->ReadSnapshotHead(reader->PathOf({*it, true})));
  }
  if (reader->start_) reader->FindEnd();
  if (!backup.empty()) RETURN_IF_ERROR(reader->StartFrom(backup));
  return reader;
}

absl::Status JournalReader::StartFrom(const std::string& backup) {
  const std::optional<Head> own = std::exchange(start_, std::nullopt);
  const Position own_end = end_;
  RETURN_IF_ERROR(ReadSnapshotHead(backup));
  if (!start_) {
    return ckpt::MakeError(
        absl::StatusCode::kDataLoss, ckpt::reason::kCatalogDamaged,
        fmt::format("{} is no backup of a catalog, or not a whole one: nothing was changed.",
                    backup));
  }
  FindEnd();
  // A start that finds neither catalog nor journal begins both, and only then sees
  // that the packs are another's. Without a transaction they are nobody's.
  const bool is_used = own && own_end.sequence > 0;
  if (is_used && (own_end.catalog != end_.catalog || own_end.sequence > end_.sequence)) {
    return ckpt::MakeError(
        absl::StatusCode::kFailedPrecondition, ckpt::reason::kCatalogDamaged,
        fmt::format("{} leads up to transaction {}, and the journal beside the packs, which is "
                    "whole, up to {}{}: rebuild from that, without a backup. Nothing was changed.",
                    backup, end_.sequence, own_end.sequence,
                    own_end.catalog == end_.catalog ? "" : " of another catalog"));
  }
  return absl::OkStatus();
}

void JournalReader::FindEnd() {
  lost_to_ = 0;
  lost_text_.clear();
  record_bytes_ = 0;
  const std::vector<Step> steps = Chain(start_->position, &last_);
  end_ = steps.empty() ? start_->position : steps.back().segment->At(steps.back().record + 1);
  for (const Step& step : steps) {
    const Record& record = step.segment->records[step.record];
    record_bytes_ += record.end - record.offset;
  }
  FindLost();
}

absl::Status JournalReader::ReadSegment(uint64_t number) {
  ASSIGN_OR_RETURN(const auto file, fs_->OpenForRead(PathOf({number, false})));
  Segment segment{.number = number};
  ASSIGN_OR_RETURN(segment.size, file->Size());
  ASSIGN_OR_RETURN(const auto head, ReadFrame(*file, 0, kNothing, /*with_payload=*/true));
  std::optional<Head> decoded;
  if (head && head->kind == FrameKind::kHead) decoded = DecodeHead(head->payload);
  if (!decoded) {
    // Records come only once the head is durable.
    if (segment.size > os::kBlockBytes) headless_.push_back(number);
    damaged_ = true;
    return absl::OkStatus();
  }
  segment.head = *decoded;
  segment.first = segment.bytes = head->end;
  ckpt::Digest before = segment.head.position.digest;
  for (;;) {
    ASSIGN_OR_RETURN(const auto frame, ReadFrame(*file, segment.bytes, before, false));
    const uint64_t next = segment.head.position.sequence + segment.records.size() + 1;
    if (!frame || frame->kind != FrameKind::kRecord || frame->number != next) break;
    segment.records.push_back({frame->offset, frame->end, frame->digest});
    segment.bytes = frame->end;
    before = frame->digest;
  }
  if (segment.size > segment.bytes) {
    damaged_ = true;
    ASSIGN_OR_RETURN(const auto name, LastFrameName(*file, segment.bytes));
    if (name && name->kind == FrameKind::kRecord) segment.last_name = name->number;
  }
  segments_.push_back(std::move(segment));
  return absl::OkStatus();
}

absl::Status JournalReader::ReadSnapshotHead(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, fs_->OpenForRead(path));
  ASSIGN_OR_RETURN(auto frame, ReadFrame(*file, 0, kNothing, /*with_payload=*/true));
  std::optional<Head> head;
  if (frame && frame->kind == FrameKind::kHead) head = DecodeHead(frame->payload);
  for (uint64_t piece = 0; head && frame && frame->kind != FrameKind::kEnd; ++piece) {
    const ckpt::Digest before = frame->digest;
    ASSIGN_OR_RETURN(frame, ReadFrame(*file, frame->end, before, false));
    if (frame && frame->number != piece) frame.reset();
  }
  if (!head || !frame) {
    damaged_ = true;
    spdlog::warn("{} is damaged or was not finished", file->path());
    return absl::OkStatus();
  }
  start_ = head;
  start_path_ = path;
  snapshot_bytes_ = frame->end;
  return absl::OkStatus();
}

std::vector<JournalReader::Step> JournalReader::Chain(const Position& from,
                                                      const Segment** last) const {
  std::vector<Step> steps;
  Position at = from;
  const Segment* current = nullptr;
  size_t record = 0;
  for (;;) {
    const Segment* later = nullptr;
    for (const Segment& segment : segments_) {
      if (segment.head.position == at && (current == nullptr || segment.number > current->number)) {
        later = &segment;
      }
    }
    if (later == nullptr && current == nullptr) {
      // In the middle of one.
      for (const Segment& segment : segments_) {
        const uint64_t first = segment.head.position.sequence;
        if (segment.head.position.catalog != at.catalog || at.sequence <= first ||
            at.sequence > first + segment.records.size()) {
          continue;
        }
        if (segment.At(at.sequence - first) == at) {
          current = &segment;
          record = at.sequence - first;
        }
      }
      if (current == nullptr) break;
    } else if (later != nullptr) {
      current = later;
      record = 0;
    }
    if (record == current->records.size()) break;
    steps.push_back({current, record});
    at = current->At(++record);
  }
  *last = current;
  return steps;
}

void JournalReader::FindLost() {
  const auto lose = [&](uint64_t to, std::string text) {
    if (to <= lost_to_) return;
    lost_to_ = to;
    lost_text_ = std::move(text);
  };
  for (const Segment& segment : segments_) {
    const std::string path = PathOf({segment.number, false});
    const bool is_last = &segment == last_;
    if (!is_last && last_ != nullptr && segment.number < last_->number) continue;
    const uint64_t to = segment.head.position.sequence + segment.records.size();
    if (!is_last && to > end_.sequence) {
      lose(to, fmt::format("{} goes on from a transaction that is in no file", path));
    }
    if (segment.last_name > end_.sequence + 1) {
      lose(segment.last_name, fmt::format("{} is damaged at {}", path, segment.bytes));
    }
  }
  for (const uint64_t number : headless_) {
    if (last_ != nullptr && number < last_->number) continue;
    lose(end_.sequence + 1, fmt::format("{} is damaged at its beginning", PathOf({number, false})));
  }
  // It was there before its snapshot.
  if (last_ == nullptr && lost_text_.empty()) {
    damaged_ = true;
    lost_text_ = fmt::format("the records that follow {} are missing", start_path_);
  }
}

bool JournalReader::LeadsOnFrom(const Position& from) const {
  if (!start_ || from.catalog != end_.catalog) return false;
  if (from == end_) return true;
  const Segment* last = nullptr;
  const std::vector<Step> steps = Chain(from, &last);
  return !steps.empty() && steps.back().segment->At(steps.back().record + 1) == end_;
}

absl::Status JournalReader::ReadRecords(const Position& from, const Apply& apply) const {
  const Segment* last = nullptr;
  std::unique_ptr<os::File> file;
  const Segment* open = nullptr;
  for (const Step& step : Chain(from, &last)) {
    if (step.segment != open) {
      ASSIGN_OR_RETURN(file, fs_->OpenForRead(PathOf({step.segment->number, false})));
      open = step.segment;
    }
    const Record& record = step.segment->records[step.record];
    ASSIGN_OR_RETURN(const auto frame,
                     ReadFrame(*file, record.offset, step.segment->At(step.record).digest, true));
    if (!frame) return ChangedMeanwhile(file->path());
    RETURN_IF_ERROR(apply(step.segment->At(step.record + 1), frame->payload));
  }
  return absl::OkStatus();
}

absl::Status JournalReader::ReadSnapshot(
    const std::function<absl::Status(std::string_view piece)>& sink) const {
  ASSIGN_OR_RETURN(const auto file, fs_->OpenForRead(start_path_));
  ASSIGN_OR_RETURN(auto frame, ReadFrame(*file, 0, kNothing, /*with_payload=*/false));
  while (frame && frame->kind != FrameKind::kEnd) {
    const ckpt::Digest before = frame->digest;
    ASSIGN_OR_RETURN(frame, ReadFrame(*file, frame->end, before, /*with_payload=*/true));
    if (frame && frame->kind == FrameKind::kPiece) RETURN_IF_ERROR(sink(frame->payload));
  }
  return frame ? absl::OkStatus() : ChangedMeanwhile(file->path());
}

std::optional<JournalReader::Tail> JournalReader::tail() const {
  if (last_ == nullptr || damaged_) return {};
  return Tail{last_->number, last_->bytes};
}

}  // namespace ckptd::catalog
