#include "tests/bench/catalog/history.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <unordered_set>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "daemon/catalog/answers.h"
#include "daemon/catalog/catalog.h"
#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/catalog/encoding.h"
#include "daemon/catalog/events.h"
#include "daemon/catalog/resumes.h"
#include "daemon/catalog/runs.h"
#include "daemon/catalog/uploads.h"
#include "daemon/chunks/layout.h"

namespace ckptd::bench {
namespace {

namespace fs = std::filesystem;
using Kind = ckpt::Event::Kind;

constexpr uint32_t kChunks = 4;      // of a shard
constexpr uint32_t kAttemptOf = 50;  // commits: then the job dies and starts again
constexpr size_t kPerTransaction = 5000;

const absl::Time kBegin = absl::FromUnixSeconds(1'750'000'000);

class Maker {
 public:
  Maker(catalog::Catalog& catalog, const HistoryShape& shape) : catalog_(catalog), shape_(shape) {}

  // Runs go on side by side, so that the rows of each are spread over the file.
  absl::Status Make() {
    runs_.resize(shape_.runs);
    for (uint32_t i = 0; i < shape_.runs; ++i) {
      RETURN_IF_ERROR(InTransaction([&](auto& txn) { return OpenRun(txn, i); }));
    }
    for (uint32_t n = 0; n < shape_.checkpoints; ++n) {
      for (uint32_t i = 0; i < shape_.runs; ++i) {
        RETURN_IF_ERROR(InTransaction([&](auto& txn) { return Save(txn, i, n); }));
      }
    }
    return Commit();
  }

 private:
  struct Run {
    int64_t id = 0;
    int64_t project_id = 0;
    uint64_t attempt = 0;
    std::vector<uint64_t> ids;
  };

  absl::Status InTransaction(const std::function<absl::Status(catalog::WriteTxn&)>& work) {
    if (txn_ == nullptr) {
      ASSIGN_OR_RETURN(txn_, catalog_.BeginWrite());
    }
    RETURN_IF_ERROR(work(*txn_));
    return ++done_ % kPerTransaction == 0 ? Commit() : absl::OkStatus();
  }

  absl::Status Commit() {
    if (txn_ == nullptr) return absl::OkStatus();
    for (;;) {
      ASSIGN_OR_RETURN(auto reclaims, catalog::ListReclaims(*txn_, 1000));
      if (reclaims.empty()) break;
      std::vector<int64_t> rows;
      for (const catalog::Reclaim& reclaim : reclaims) rows.push_back(reclaim.row);
      RETURN_IF_ERROR(catalog::DeleteReclaims(*txn_, rows));
    }
    ASSIGN_OR_RETURN(std::vector<PackId> empty, catalog::ListEmptyPacks(*txn_));
    for (const PackId pack : empty) RETURN_IF_ERROR(catalog::DeletePack(*txn_, pack));
    return std::exchange(txn_, nullptr)->Commit();
  }

  absl::Status Note(catalog::WriteTxn& txn, const Run& run, Kind kind, uint64_t id, uint64_t step,
                    std::string text) {
    return catalog::InsertEvent(txn, run.id, {0, now_, kind, id, step, std::move(text)});
  }

  absl::Status OpenRun(catalog::WriteTxn& txn, uint32_t index) {
    const std::optional<ckpt::Policy> policy =
        KeepsAll(index) ? std::optional(ckpt::Policy()) : std::nullopt;
    ASSIGN_OR_RETURN(auto row, catalog::CreateRun(txn, RunOf(index), policy, now_));
    runs_[index].id = row.id;
    runs_[index].project_id = row.project_id;
    return absl::OkStatus();
  }

  absl::Status Start(catalog::WriteTxn& txn, Run& run) {
    const std::string launch = fmt::format("launch-{}", run.attempt + 1);
    ASSIGN_OR_RETURN(auto attempt, catalog::InsertAttempt(txn, run.id, launch, 1, now_));
    run.attempt = attempt.number;
    catalog::TicketRow ticket;
    ticket.run_id = run.id;
    ticket.attempt = run.attempt;
    ticket.selector = "latest";
    ticket.outcome = run.ids.empty() ? 1 : 2;
    ticket.checkpoint_id = run.ids.empty() ? 0 : run.ids.back();
    ticket.opened_at = now_;
    ticket.expires_at = now_ + absl::Minutes(10);
    ASSIGN_OR_RETURN(ticket, catalog::InsertTicket(txn, ticket));
    RETURN_IF_ERROR(
        catalog::InsertReport(txn, ticket.id, 0, true, "", false, now_).status());
    RETURN_IF_ERROR(
        catalog::SetAttemptResumedFrom(txn, run.id, run.attempt, ticket.checkpoint_id));
    RETURN_IF_ERROR(catalog::SetAttemptTimeline(txn, run.id, run.attempt, 1));
    RETURN_IF_ERROR(Note(txn, run, Kind::kAttempt, 0, 0, "attempt opened, world size 1"));
    return Note(txn, run, Kind::kResumed, ticket.checkpoint_id, 0, "attempt resumes");
  }

  absl::Status Save(catalog::WriteTxn& txn, uint32_t index, uint32_t n) {
    now_ += absl::Milliseconds(50);
    Run& run = runs_[index];
    if (n % kAttemptOf == 0) RETURN_IF_ERROR(Start(txn, run));
    const uint64_t step = (n + 1) * kStepsBetween;
    const auto from_best = static_cast<double>(step > kBestStep ? step - kBestStep
                                                                : kBestStep - step);
    catalog::NewUpload upload;
    upload.run_id = run.id;
    upload.attempt = run.attempt;
    upload.step = step;
    upload.metrics = {{"val_loss", 1 + from_best}, {"train_loss", 1 / static_cast<double>(step)}};
    upload.labels = {{"commit", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"}};
    const ckpt::Manifest manifest = ManifestOf(index, step, kChunks);
    ASSIGN_OR_RETURN(auto row, catalog::InsertUpload(txn, upload, manifest, now_));
    std::vector<ckpt::Digest> digests;
    for (const ckpt::Chunk& chunk : manifest.chunks) digests.push_back(chunk.digest);
    ASSIGN_OR_RETURN(auto present,
                     catalog::ReferToPresent(txn, run.project_id, row.shard_row, digests));
    const std::unordered_set<ckpt::Digest> had(present.begin(), present.end());
    ASSIGN_OR_RETURN(const PackId pack, catalog::StartPack(txn, row.shard_row, now_));
    std::vector<StoredChunk> stored;
    for (const ckpt::Chunk& chunk : manifest.chunks) {
      if (had.contains(chunk.digest)) continue;
      stored.push_back({chunk.digest, {pack, 4096 * (stored.size() + 1), 4096, chunk.length}});
    }
    RETURN_IF_ERROR(catalog::InsertChunks(txn, run.project_id, row.shard_row, stored));
    RETURN_IF_ERROR(catalog::SealPack(txn, pack));
    ASSIGN_OR_RETURN(const uint64_t id, catalog::FinishShard(txn, row.shard_row, 1, now_));
    // Long since looked at for what could be encoded.
    RETURN_IF_ERROR(catalog::MarkPacked(txn, id));
    RETURN_IF_ERROR(Note(txn, run, Kind::kCommitted, id, step,
                         "committed by attempt 1 on timeline 1, 400 bytes, 8192 new on disk"));
    run.ids.push_back(id);
    if (n % 50 == 7 && KeepsAll(index)) {
      RETURN_IF_ERROR(catalog::AddPin(txn, id, "release", now_));
      RETURN_IF_ERROR(catalog::SetAlias(txn, run.id, "good", id, now_).status());
    }
    if (!KeepsAll(index) && n >= 3 && (n - 3 + 1) * kStepsBetween != kBestStep) {
      RETURN_IF_ERROR(Remove(txn, run, n - 3));
    }
    return absl::OkStatus();
  }

  absl::Status Remove(catalog::WriteTxn& txn, const Run& run, uint32_t n) {
    const uint64_t id = run.ids[n], step = (n + 1) * kStepsBetween;
    const std::vector<ckpt::Reason> reasons = {
        {ckpt::Reason::Rule::kSuperseded, "not among the last 3 (is #4)"},
        {ckpt::Reason::Rule::kSuperseded, "not among the best 1 by val_loss (is #3)"}};
    RETURN_IF_ERROR(catalog::MarkRemoved(txn, id, reasons, now_, std::nullopt));
    RETURN_IF_ERROR(Note(txn, run, Kind::kRemoved, id, step, ckpt::ReasonsText({false, reasons})));
    RETURN_IF_ERROR(catalog::ReleaseCheckpoint(txn, id, 1000).status());
    return Note(txn, run, Kind::kReclaimed, id, step, "its space is given back");
  }

  catalog::Catalog& catalog_;
  const HistoryShape shape_;
  absl::Time now_ = kBegin;
  std::vector<Run> runs_;
  std::unique_ptr<catalog::WriteTxn> txn_;
  size_t done_ = 0;
};

}  // namespace

ckpt::RunName RunOf(uint32_t index) { return {"default", fmt::format("run-{:05}", index)}; }
bool KeepsAll(uint32_t index) { return index % 4 == 3; }

std::string BytesOf(uint32_t run, uint64_t step, uint32_t index) {
  return fmt::format("{:>100}", fmt::format("{} {} {}", run, index < 2 ? 0 : step, index));
}

ckpt::Manifest ManifestOf(uint32_t run, uint64_t step, uint32_t chunks) {
  ckpt::Manifest manifest;
  for (uint32_t i = 0; i < chunks; ++i) {
    const std::string bytes = BytesOf(run, step, i);
    if (i % 4 == 0) {
      ckpt::Entry entry;
      entry.name = fmt::format("model/layers.{}.attention.weight", i / 4);
      entry.offset = uint64_t{i} * bytes.size();
      entry.length = std::min(4u, chunks - i) * bytes.size();
      manifest.entries.push_back(std::move(entry));
    }
    manifest.chunks.push_back({ckpt::HashBytes(bytes), static_cast<uint32_t>(bytes.size())});
  }
  return manifest;
}

absl::Status MakeHistory(const std::string& data_dir, const HistoryShape& shape) {
  if (fs::exists(data_dir)) return absl::OkStatus();
  const std::string unfinished = data_dir + ".unfinished";
  fs::remove_all(unfinished);
  fs::create_directories(unfinished);
  const Layout layout(unfinished);
  ASSIGN_OR_RETURN(auto catalog, catalog::Catalog::Open(layout.Catalog()));
  RETURN_IF_ERROR(Maker(*catalog, shape).Make());
  {
    ASSIGN_OR_RETURN(auto txn, catalog->BeginRead());
    ASSIGN_OR_RETURN(std::vector<PackId> packs, catalog::ListPacks(*txn));
    for (const PackId pack : packs) {
      const fs::path path = layout.Pack(pack);
      fs::create_directories(path.parent_path());
      std::ofstream file(path);
    }
  }
  catalog.reset();
  fs::rename(unfinished, data_dir);
  return absl::OkStatus();
}

}  // namespace ckptd::bench
