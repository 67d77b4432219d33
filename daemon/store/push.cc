// Attempts and uploads.
#include <algorithm>
#include <limits>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/catalog/damage.h"
#include "daemon/catalog/uploads.h"
#include "daemon/os/file_system.h"
#include "daemon/store/damage.h"
#include "daemon/store/errors.h"
#include "daemon/store/store.h"
#include "proto/convert.h"

namespace ckptd {
namespace {

using ckpt::Digest;

std::vector<Digest> UniqueDigests(const ckpt::Manifest& manifest) {
  std::vector<Digest> digests;
  std::unordered_set<Digest> seen;
  for (const ckpt::Chunk& chunk : manifest.chunks) {
    if (seen.insert(chunk.digest).second) digests.push_back(chunk.digest);
  }
  return digests;
}

// Chunks that are not sent are not measured: a digest that the project has is
// believed only with the length that it has there.
absl::Status CheckLengths(const std::unordered_map<Digest, uint32_t>& present,
                          const ckpt::Manifest& manifest) {
  for (size_t i = 0; i < manifest.chunks.size(); ++i) {
    const ckpt::Chunk& chunk = manifest.chunks[i];
    auto found = present.find(chunk.digest);
    if (found == present.end() || found->second == chunk.length) continue;
    return ckpt::BadField(fmt::format("manifest.chunks[{}].length", i),
                          fmt::format("the chunk with digest {} has {} bytes, not {}",
                                      chunk.digest.Hex(), found->second, chunk.length),
                          ckpt::reason::kBadManifest);
  }
  return absl::OkStatus();
}

std::string StepName(const catalog::UploadRow& row, const ckpt::RunName& run) {
  return fmt::format("{}@{} rank {} of {}", run.ToString(), row.step, row.rank, row.world_size);
}

}  // namespace

absl::StatusOr<Store::OpenedAttempt> Store::OpenAttempt(
    const ckpt::RunName& name, const std::string& launch_id, uint32_t world_size,
    const std::optional<ckpt::Policy>& initial_policy, bool must_exist,
    const Once<OpenedAttempt>& once) {
  RETURN_IF_ERROR(CheckNotDraining());
  absl::Time now = clock_->Now();
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  OpenedAttempt opened;
  ASSIGN_OR_RETURN(auto run, catalog::FindRun(*txn, name));
  if (!run || run->deleted) {
    if (must_exist) return RunNotFound(name);
    ASSIGN_OR_RETURN(run, catalog::CreateRun(*txn, name, initial_policy, now));
    opened.run_created = true;
  }
  ASSIGN_OR_RETURN(auto attempt, catalog::FindAttemptByLaunch(*txn, run->id, launch_id));
  if (opened.run_created) attempt.reset();  // one of the run's life before its deletion
  if (attempt && attempt->number == run->newest_attempt) {
    // What was committed took all ranks: who opens the attempt now is a new start whose
    // id was kept, as a requeued job's and a restarted container's are.
    ASSIGN_OR_RETURN(const auto newest, catalog::ListCheckpoints(
                                            *txn, run->id, {.include_removed = true, .limit = 1}));
    if (!newest.empty() && newest[0].attempt == attempt->number) attempt.reset();
  }
  if (attempt && attempt->world_size != world_size) {
    return ckpt::MakeError(
        absl::StatusCode::kFailedPrecondition, ckpt::reason::kWorldSizeDiffers,
        fmt::format("launch {} of run {} was opened with world size {}, not {}; all ranks of one "
                    "launch must agree",
                    launch_id, name.ToString(), attempt->world_size, world_size));
  }
  if (!attempt) {
    ASSIGN_OR_RETURN(attempt, catalog::InsertAttempt(*txn, run->id, launch_id, world_size, now));
    RETURN_IF_ERROR(
        AddEvent(*txn, run->id, ckpt::Event::Kind::kAttempt, 0, 0,
                 fmt::format("attempt {} opened, world size {}", attempt->number, world_size)));
    run->newest_attempt = attempt->number;
  }
  opened.attempt = {
      attempt->number,     attempt->launch_id,
      attempt->world_size, attempt->timeline != 0 ? attempt->timeline : run->current_timeline,
      attempt->opened_at,  attempt->resumed_from};
  ASSIGN_OR_RETURN(opened.run, DescribeRun(*txn, *run));
  RETURN_IF_ERROR(Remember(*txn, once, opened));
  RETURN_IF_ERROR(txn->Commit());
  ForgetFenced(run->id, run->newest_attempt);
  return opened;
}

void Store::ForgetFenced(int64_t run_id, uint64_t newest_attempt) {
  std::vector<std::shared_ptr<Upload>> fenced;
  {
    absl::MutexLock lock(&uploads_mutex_);
    std::erase_if(uploads_, [&](const auto& entry) {
      const catalog::UploadRow& row = entry.second->row();
      const bool is_fenced = row.run_id == run_id && row.attempt < newest_attempt;
      if (is_fenced) fenced.push_back(entry.second);
      return is_fenced;
    });
  }
  for (const std::shared_ptr<Upload>& upload : fenced) Abandon(upload->pack());
}

absl::Status Store::CheckSpace(uint64_t needed) {
  ASSIGN_OR_RETURN(Usage usage, chunks_->GetUsage());
  uint64_t reserved = options_.keep_free_bytes;
  {
    absl::MutexLock lock(&uploads_mutex_);
    for (const auto& [row, upload] : uploads_) reserved += upload->promised_bytes();
  }
  uint64_t free = usage.free_bytes > reserved ? usage.free_bytes - reserved : 0;
  if (needed > free) return NoSpace(needed, free);
  return absl::OkStatus();
}

absl::StatusOr<Store::OpenedUpload> Store::OpenUpload(UploadRequest request) {
  absl::Time now = clock_->Now();
  Digest manifest_digest = catalog::ManifestDigest(request.manifest);
  std::vector<Digest> digests = UniqueDigests(request.manifest);
  std::unordered_map<Digest, uint32_t> lengths;
  {
    // Before the writer's turn, since to compare a hundred thousand takes a
    // while. What comes in between is only sent once more.
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
    ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, request.run));
    ASSIGN_OR_RETURN(lengths, catalog::FindLengths(*txn, run.project_id, digests));
  }

  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(catalog::RunRow run, RequireRun(*txn, request.run));
  ASSIGN_OR_RETURN(auto attempt, catalog::FindAttempt(*txn, run.id, request.attempt));
  if (!attempt) return AttemptNotFound(request.run, request.attempt);
  if (request.rank >= attempt->world_size) {
    return ckpt::BadField("rank", fmt::format("rank {} does not exist: the attempt's world size "
                                              "is {}",
                                              request.rank, attempt->world_size));
  }
  ASSIGN_OR_RETURN(auto existing,
                   catalog::FindUpload(*txn, run.id, request.attempt, request.step, request.rank));
  if (existing && existing->manifest_digest != manifest_digest) {
    return StepContentDiffers(request.run, request.step, request.rank);
  }
  ASSIGN_OR_RETURN(const bool heals, catalog::HealManifests(*txn, request.manifest));
  if (heals) {
    RETURN_IF_ERROR(HealIntact(*txn, "its manifest was pushed again", now).status());
    RETURN_IF_ERROR(txn->Commit());
    return OpenUpload(std::move(request));
  }
  OpenedUpload opened;
  if (existing && existing->durable) {
    // Answered even to a fenced attempt: the commit did happen.
    opened.upload_id = Upload::IdOf(existing->shard_row);
    ASSIGN_OR_RETURN(opened.result, ResultOf(*txn, existing->shard_row));
    return opened;
  }
  if (request.attempt != run.newest_attempt) {
    return AttemptFenced(request.run, request.attempt, run.newest_attempt);
  }
  if (existing) {
    opened.upload_id = Upload::IdOf(existing->shard_row);
    // Also while draining: it may go on where it broke.
    if (auto session = Session(existing->shard_row)) {
      // Its first chunk may be waiting for the writer, to start a pack, with
      // the session locked: let the writer go before asking.
      txn.reset();
      opened.missing_chunks = session->MissingChunks();
      opened.missing_bytes = session->missing_bytes();
      return opened;
    }
  }
  RETURN_IF_ERROR(CheckNotDraining());
  if (!existing) {
    ASSIGN_OR_RETURN(existing,
                     catalog::InsertUpload(
                         *txn,
                         {run.id, request.attempt, request.step, request.rank, attempt->world_size,
                          request.metrics, request.pending_metrics, request.labels},
                         request.manifest, now));
  }
  int64_t shard_row = existing->shard_row;
  RETURN_IF_ERROR(CheckLengths(lengths, request.manifest));
  std::unordered_set<Digest> missing(digests.begin(), digests.end());
  std::erase_if(digests, [&](const Digest& digest) { return !lengths.contains(digest); });
  ASSIGN_OR_RETURN(std::vector<Digest> present,
                   catalog::ReferToPresent(*txn, run.project_id, shard_row, digests));
  for (const Digest& digest : present) missing.erase(digest);

  auto open_pack = [this, shard_row](uint64_t bytes) { return OpenPack(shard_row, bytes); };
  size_t missing_count = missing.size();
  std::string note =
      missing.empty()
          ? ""
          : ckpt::SerializeNote({request.run, request.attempt, request.step, request.rank,
                                 &request.manifest, request.metrics, request.labels});
  auto upload = std::make_shared<Upload>(*existing, std::move(request.manifest), std::move(missing),
                                         std::move(open_pack), std::move(note));
  // Each chunk's record has a header and is rounded up to blocks.
  const uint64_t needed = upload->missing_bytes() + missing_count * 2 * os::kBlockBytes;
  // A refusal leaves nothing behind: the transaction is rolled back.
  RETURN_IF_ERROR(CheckQuota(*txn, run.project_id, needed + AnnouncedBytes(run.project_id)));
  RETURN_IF_ERROR(CheckSpace(needed));
  {
    // Still inside the transaction, so that nobody makes the same upload twice.
    absl::MutexLock lock(&uploads_mutex_);
    uploads_[shard_row] = upload;
  }
  if (absl::Status committed = txn->Commit(); !committed.ok()) {
    ForgetUpload(shard_row);
    return committed;
  }
  txn.reset();
  opened.upload_id = Upload::IdOf(shard_row);
  opened.missing_chunks = upload->MissingChunks();
  opened.missing_bytes = upload->missing_bytes();
  spdlog::debug("upload {} opened: {}, {} bytes of {} missing", opened.upload_id,
                StepName(*existing, run.name), opened.missing_bytes, upload->manifest().bytes());
  return opened;
}

absl::StatusOr<std::unique_ptr<PackWriter>> Store::OpenPack(int64_t shard_row,
                                                             uint64_t expected_bytes) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  // A stream may outlive its upload: a pack of nobody's would never go.
  ASSIGN_OR_RETURN(auto row, catalog::FindUploadByRow(*txn, shard_row));
  if (!row || row->durable) return UploadNotFound(Upload::IdOf(shard_row));
  ASSIGN_OR_RETURN(auto run, catalog::FindRunById(*txn, row->run_id));
  if (row->attempt != run->newest_attempt) {
    return AttemptFenced(run->name, row->attempt, run->newest_attempt);
  }
  ASSIGN_OR_RETURN(PackId pack, catalog::StartPack(*txn, shard_row, clock_->Now()));
  RETURN_IF_ERROR(txn->Commit());
  absl::StatusOr<std::unique_ptr<PackWriter>> writer = chunks_->NewPack(pack, expected_bytes);
  if (!writer.ok()) Abandon(pack);
  return writer;
}

absl::StatusOr<std::shared_ptr<Upload>> Store::FindUpload(const std::string& upload_id) {
  if (auto session = Session(Upload::RowOf(upload_id))) return session;
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(auto row, catalog::FindUploadByRow(*txn, Upload::RowOf(upload_id)));
  if (row && !row->durable) {
    ASSIGN_OR_RETURN(auto run, catalog::FindRunById(*txn, row->run_id));
    if (run && row->attempt < run->newest_attempt) {
      return AttemptFenced(run->name, row->attempt, run->newest_attempt);
    }
  }
  return UploadNotFound(upload_id);
}

std::shared_ptr<Upload> Store::Session(int64_t shard_row) {
  absl::MutexLock lock(&uploads_mutex_);
  auto it = uploads_.find(shard_row);
  if (it == uploads_.end()) return nullptr;
  it->second->Touch();
  return it->second;
}

bool Store::IsPushUnderWay() {
  absl::MutexLock lock(&uploads_mutex_);
  // An upload that is only open may wait for its client for hours.
  return std::ranges::any_of(uploads_,
                             [](const auto& open) { return open.second.use_count() > 1; });
}

void Store::ForgetUpload(int64_t shard_row) {
  absl::MutexLock lock(&uploads_mutex_);
  uploads_.erase(shard_row);
}

void Store::AbandonPack(const std::shared_ptr<Upload>& upload) {
  {
    absl::MutexLock lock(&uploads_mutex_);
    auto it = uploads_.find(upload->row().shard_row);
    if (it == uploads_.end() || it->second != upload) return;  // another stream did it
    uploads_.erase(it);
  }
  PackId pack = upload->pack();
  if (pack == 0) return;
  spdlog::error("pack {:016x} of upload {} is abandoned after a failed write", pack,
                Upload::IdOf(upload->row().shard_row));
  Abandon(pack);
}

void Store::Abandon(PackId pack) {
  if (pack == 0) return;
  {
    absl::MutexLock lock(&uploads_mutex_);
    abandoned_.push_back(pack);
  }
  janitor_->Wake();
}

absl::Status Store::RemoveAllAbandoned() {
  std::vector<PackId> abandoned;
  {
    absl::MutexLock lock(&uploads_mutex_);
    abandoned = abandoned_;
  }
  absl::Status failed;
  for (const PackId pack : abandoned) {
    if (absl::Status status = RemoveAbandoned(pack); !status.ok()) {
      failed.Update(status);
      continue;
    }
    absl::MutexLock lock(&uploads_mutex_);
    std::erase(abandoned_, pack);
  }
  return failed;
}

absl::Status Store::RemoveAbandoned(PackId pack) {
  {
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
    ASSIGN_OR_RETURN(const bool unsealed, catalog::IsUnsealed(*txn, pack));
    // Its upload may have been committed just before it was fenced. From now on it
    // cannot be any more.
    if (!unsealed) return absl::OkStatus();
  }
  // The file first: where the disk is full, what follows has no room before.
  RETURN_IF_ERROR(chunks_->RemovePack(pack));
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  RETURN_IF_ERROR(catalog::SealPack(*txn, pack));
  return txn->Commit();
}

absl::Status Store::AbortUpload(const std::string& upload_id, const Once<Done>& once) {
  int64_t shard_row = Upload::RowOf(upload_id);
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(auto row, catalog::FindUploadByRow(*txn, shard_row));
  if (!row) return UploadNotFound(upload_id);
  if (row->durable) return absl::OkStatus();  // too late: nothing is unfinished
  if (row->pack != 0) RETURN_IF_ERROR(catalog::SealPack(*txn, row->pack));
  RETURN_IF_ERROR(catalog::DropUpload(*txn, shard_row));
  RETURN_IF_ERROR(AddEvent(*txn, row->run_id, ckpt::Event::Kind::kUploadDropped, 0, row->step,
                           fmt::format("upload of step {} rank {} aborted", row->step, row->rank)));
  RETURN_IF_ERROR(Remember(*txn, once, {}));
  RETURN_IF_ERROR(txn->Commit());
  // Not before: an upload that could not be dropped goes on with the pack it has.
  ForgetUpload(shard_row);
  janitor_->Wake();
  return absl::OkStatus();
}

}  // namespace ckptd
