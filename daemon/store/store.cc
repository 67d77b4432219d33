#include "daemon/store/store.h"

#include <algorithm>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/checkpoints.h"
#include "daemon/catalog/chunks.h"
#include "daemon/catalog/events.h"
#include "daemon/catalog/uploads.h"
#include "daemon/chunks/layout.h"
#include "daemon/chunks/pack_store.h"
#include "daemon/store/errors.h"
#include "daemon/store/recovery.h"

namespace ckptd {
namespace {

// One transaction of the janitor's gives back at most so many extents, so that
// a commit never waits long for the writer.
constexpr uint32_t kReclaimBatch = 1024;
// And takes at most so many of a removed checkpoint's references away.
constexpr uint32_t kReleaseBatch = 4096;
// In so many transactions before the janitor is heard of again: it does not count
// as stuck because much was removed at once.
constexpr int kReleaseTransactions = 64;

}  // namespace

Store::Store(StoreOptions options, os::FileSystem* fs, os::Clock* clock)
    : options_(std::move(options)),
      fs_(fs),
      clock_(clock),
      opened_at_(clock->Now()),
      metrics_(options_.metrics != nullptr ? options_.metrics : &own_metrics_),
      default_policy_(options_.default_policy),
      default_quota_(options_.default_quota),
      default_budget_(options_.default_budget),
      leases_([this](uint64_t checkpoint_id) { LeaseEnded(checkpoint_id); }) {}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(StoreOptions options, os::FileSystem* fs,
                                                   os::Clock* clock) {
  std::unique_ptr<Store> store(new Store(std::move(options), fs, clock));
  Layout layout(store->options_.data_dir);
  ASSIGN_OR_RETURN(store->lock_, ClaimDataDir(fs, layout));
  catalog::CatalogOptions catalog_options;
  catalog_options.journal_dir = layout.Journal();
  catalog_options.fs = fs;
  catalog_options.clock = clock;
  catalog_options.on_damage = store->options_.on_catalog_damage;
  ASSIGN_OR_RETURN(store->catalog_, catalog::Catalog::Open(layout.Catalog(), catalog_options));
  ASSIGN_OR_RETURN(store->chunks_, OpenPackStore(fs, layout.dir()));
  RETURN_IF_ERROR(Recover(*store->catalog_, *store->chunks_, clock->Now()));

  Store* self = store.get();
  Janitor::Work work;
  work.reclaim = [self] { return self->ReclaimBatch(); };
  work.drop_uploads = [self] { return self->DropStaleUploads(); };
  work.forget_answers = [self] { return self->ForgetAnswers(); };
  work.keep_journal = [self] { return self->catalog_->KeepJournal(); };
  work.judge = [self](int64_t run_id) { return self->JudgeAgain(run_id); };
  store->janitor_ = std::make_unique<Janitor>(
      std::move(work), [clock] { return clock->Now(); }, self->options_.prune_interval,
      self->options_.stuck_after);
  store->MakePacker();
  store->MakeScrubber();
  if (self->options_.compress) store->packer_->Start();

  // What time changed while the daemon was away.
  ASSIGN_OR_RETURN(auto txn, store->catalog_->BeginRead());
  ASSIGN_OR_RETURN(std::vector<int64_t> runs, catalog::ListRunIds(*txn));
  for (const int64_t run_id : runs) {
    store->janitor_->JudgeAt(run_id, clock->Now());
    store->packer_->Look(run_id);
  }
  store->janitor_->Start();
  store->scrubber_->Start();
  return store;
}

void Store::MakePacker() {
  Packing::Parts parts;
  parts.metrics = metrics_;
  parts.catalog = catalog_.get();
  parts.chunks = chunks_.get();
  parts.level = options_.compress_level;
  parts.keep_free_bytes = options_.keep_free_bytes;
  parts.now = [this] { return clock_->Now(); };
  parts.judge = [this](catalog::ReadTxn& txn, const catalog::RunRow& run) {
    return JudgeRun(txn, run, PolicyOf(run), leases_, clock_->Now());
  };
  parts.abandon = [this](PackId pack) { Abandon(pack); };
  parts.wake_janitor = [this] { janitor_->Wake(); };
  parts.run_low = [this](const std::function<void()>& compute) { packer_->RunLow(compute); };
  parts.go_on = [this](uint64_t bytes) { return packer_->GoOn(bytes); };
  packing_ = std::make_unique<Packing>(std::move(parts));
  packer_ = std::make_unique<Packer>([this](int64_t run_id) { return packing_->PackRun(run_id); },
                                     [this] { return IsPushUnderWay(); }, options_.compress_rate,
                                     options_.prune_interval);
}

void Store::MakeScrubber() {
  Scrubbing::Parts parts;
  parts.metrics = metrics_;
  parts.catalog = catalog_.get();
  parts.chunks = chunks_.get();
  parts.automatic = options_.scrub;
  parts.interval = options_.scrub_interval;
  parts.now = [this] { return clock_->Now(); };
  parts.judge = [this](int64_t run_id) { janitor_->JudgeAt(run_id, clock_->Now()); };
  parts.run_low = [this](const std::function<void()>& check) { scrubber_->RunLow(check); };
  parts.go_on = [this](uint64_t bytes) { return scrubber_->GoOn(bytes); };
  scrubbing_ = std::make_unique<Scrubbing>(std::move(parts));
  scrubber_ = std::make_unique<Scrubber>(
      Scrubber::Work{.is_due = [this] { return scrubbing_->IsDue(); },
                     .run = [this] { return scrubbing_->Run(); },
                     .is_busy = [this] { return IsPushUnderWay() || leases_.IsAnyLeased(); }},
      options_.scrub_rate, options_.prune_interval);
}

// The janitor's thread ends first and still uses janitor_, so it is not reset.
// The packer's and the scrubber's use that, and the janitor's the packer.
Store::~Store() {
  if (scrubber_ != nullptr) scrubber_->Stop();
  if (packer_ != nullptr) packer_->Stop();
}

void Store::SetDefaultPolicy(const ckpt::Policy& policy) {
  absl::MutexLock lock(&policy_mutex_);
  default_policy_ = policy;
}

ckpt::Policy Store::DefaultPolicy() const {
  absl::MutexLock lock(&policy_mutex_);
  return default_policy_;
}

ckpt::Policy Store::PolicyOf(const catalog::RunRow& run) const {
  return run.policy ? *run.policy : DefaultPolicy();
}

absl::StatusOr<catalog::RunRow> Store::RequireRun(catalog::ReadTxn& txn,
                                                  const ckpt::RunName& name) {
  ASSIGN_OR_RETURN(auto run, catalog::FindRun(txn, name));
  if (!run || run->deleted) return RunNotFound(name);
  return *run;
}

absl::StatusOr<ckpt::Checkpoint> Store::RequireCheckpoint(catalog::ReadTxn& txn,
                                                          const ckpt::RunName& run, uint64_t id) {
  ASSIGN_OR_RETURN(auto checkpoint, catalog::FindCheckpoint(txn, id));
  if (!checkpoint || (!run.run.empty() && checkpoint->run != run)) return CheckpointNotFound(id);
  if (checkpoint->removed_at) return CheckpointRemoved(*checkpoint);
  return *checkpoint;
}

absl::Status Store::AddEvent(catalog::WriteTxn& txn, int64_t run_id, ckpt::Event::Kind kind,
                             uint64_t checkpoint_id, uint64_t step, std::string text) {
  return catalog::InsertEvent(txn, run_id,
                              {0, clock_->Now(), kind, checkpoint_id, step, std::move(text)});
}

void Store::LeaseEnded(uint64_t checkpoint_id) {
  if (janitor_ == nullptr) return;
  auto txn = catalog_->BeginRead();
  if (!txn.ok()) return;
  auto run_id = catalog::RunIdOf(**txn, checkpoint_id);
  if (!run_id.ok()) return;
  janitor_->JudgeAt(*run_id, clock_->Now());
  janitor_->Wake();
}

absl::StatusOr<bool> Store::ReclaimBatch() {
  std::vector<uint64_t> released;
  std::vector<catalog::Reclaim> reclaims;
  std::vector<PackId> empty;
  // One that fails stops no other; it is tried again later.
  absl::Status failed = RemoveAllAbandoned();
  {
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
    ASSIGN_OR_RETURN(released, catalog::ListReclaimable(*txn, clock_->Now()));
    ASSIGN_OR_RETURN(reclaims, catalog::ListReclaims(*txn, kReclaimBatch));
    ASSIGN_OR_RETURN(empty, catalog::ListEmptyPacks(*txn));
  }
  // Who writes is not held up for nothing.
  if (released.empty() && reclaims.empty() && empty.empty()) {
    RETURN_IF_ERROR(failed);
    return false;
  }
  bool more = false;
  int transactions = kReleaseTransactions;
  for (uint64_t id : released) {
    const absl::StatusOr<bool> begun = Release(id, transactions);
    failed.Update(begun.status());
    more |= begun.value_or(false);
    if (!begun.ok() || transactions == 0) break;
  }
  std::vector<int64_t> done;
  uint64_t done_bytes = 0;
  const auto is_done = [&](const catalog::Reclaim& reclaim) {
    done.push_back(reclaim.row);
    done_bytes += reclaim.location.extent;
  };
  std::map<PackId, std::vector<const catalog::Reclaim*>> punched;
  for (const catalog::Reclaim& reclaim : reclaims) {
    if (reclaim.pack_empty) {
      is_done(reclaim);
    } else if (absl::Status status = chunks_->Punch(reclaim.location); status.ok()) {
      punched[reclaim.location.pack].push_back(&reclaim);
    } else {
      failed.Update(status);
    }
  }
  // The holes before the rows: what a power cut fills again is known to be punched again.
  for (const auto& [pack, holes] : punched) {
    const absl::Status synced = chunks_->SyncPunched(pack);
    failed.Update(synced);
    if (!synced.ok()) continue;
    for (const catalog::Reclaim* hole : holes) is_done(*hole);
  }
  {
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
    RETURN_IF_ERROR(catalog::DeleteReclaims(*txn, done));
    ASSIGN_OR_RETURN(empty, catalog::ListEmptyPacks(*txn));
    RETURN_IF_ERROR(txn->Commit());
    metrics_->reclaimed_bytes.Add(done_bytes);
  }
  for (PackId pack : empty) {
    if (absl::Status removed = chunks_->RemovePack(pack); !removed.ok()) {
      failed.Update(removed);
      continue;
    }
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
    RETURN_IF_ERROR(catalog::DeletePack(*txn, pack));
    RETURN_IF_ERROR(txn->Commit());
  }
  RETURN_IF_ERROR(failed);
  return more || !done.empty();
}

absl::StatusOr<bool> Store::Release(uint64_t checkpoint_id, int& transactions) {
  for (bool begun = false;; begun = true) {
    if (transactions == 0) return begun;
    --transactions;
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
    // Asked under the writer's lock: a reader that came before the removal
    // still holds its lease, and none can come after it.
    if (leases_.IsLeased(checkpoint_id)) return begun;
    ASSIGN_OR_RETURN(auto checkpoint, catalog::FindCheckpoint(*txn, checkpoint_id));
    if (!checkpoint || !checkpoint->removed_at) return begun;
    if (checkpoint->restorable_until.value_or(absl::InfinitePast()) > clock_->Now()) return begun;
    ASSIGN_OR_RETURN(int64_t run_id, catalog::RunIdOf(*txn, checkpoint_id));
    ASSIGN_OR_RETURN(const bool done,
                     catalog::ReleaseCheckpoint(*txn, checkpoint_id, kReleaseBatch));
    if (done) {
      RETURN_IF_ERROR(AddEvent(*txn, run_id, ckpt::Event::Kind::kReclaimed, checkpoint_id,
                               checkpoint->step, "its space is given back"));
    }
    RETURN_IF_ERROR(txn->Commit());
    if (done) return true;
  }
}

absl::StatusOr<std::string> Store::WhyStale(catalog::ReadTxn& txn, int64_t shard_row) {
  ASSIGN_OR_RETURN(auto row, catalog::FindUploadByRow(txn, shard_row));
  if (!row || row->checkpoint_id != 0) return "";
  ASSIGN_OR_RETURN(auto run, catalog::FindRunById(txn, row->run_id));
  if (!run) return "";
  if (run->deleted) return "its run was deleted";
  if (clock_->Now() - row->opened_at > PolicyOf(*run).upload_deadline) {
    return "it was not finished by its deadline";
  }
  if (row->attempt < run->newest_attempt) {
    // A newer attempt may still take chunks over, until it has committed
    // (what it committed may be removed since).
    ASSIGN_OR_RETURN(auto newest, catalog::ListCheckpoints(
                                      txn, run->id, {.include_removed = true, .limit = 1}));
    if (!newest.empty() && newest[0].attempt > row->attempt) {
      return fmt::format("attempt {} has committed since", newest[0].attempt);
    }
  }
  return "";
}

absl::Status Store::DropUploadIn(catalog::WriteTxn& txn, const catalog::UploadRow& row,
                                 const std::string& why) {
  if (row.pack != 0) RETURN_IF_ERROR(catalog::SealPack(txn, row.pack));
  RETURN_IF_ERROR(catalog::DropUpload(txn, row.shard_row));
  return AddEvent(txn, row.run_id, ckpt::Event::Kind::kUploadDropped, 0, row.step,
                  fmt::format("unfinished upload of step {} rank {} dropped: {}", row.step,
                              row.rank, why));
}

absl::Status Store::DropStaleUploads() {
  std::vector<catalog::UploadRow> open;
  {
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
    ASSIGN_OR_RETURN(open, catalog::ListOpenUploads(*txn));
  }
  for (const catalog::UploadRow& upload : open) {
    // Asked first without holding up who writes: most are not stale.
    {
      ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
      ASSIGN_OR_RETURN(std::string why, WhyStale(*txn, upload.shard_row));
      if (why.empty()) continue;
    }
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
    ASSIGN_OR_RETURN(std::string why, WhyStale(*txn, upload.shard_row));
    if (why.empty()) continue;
    ASSIGN_OR_RETURN(auto row, catalog::FindUploadByRow(*txn, upload.shard_row));
    ASSIGN_OR_RETURN(auto run, catalog::FindRunById(*txn, upload.run_id));
    RETURN_IF_ERROR(DropUploadIn(*txn, *row, why));
    RETURN_IF_ERROR(txn->Commit());
    ForgetUpload(upload.shard_row);
    spdlog::info("unfinished upload of {}@{} rank {} dropped: {}", run->name.ToString(),
                 upload.step, upload.rank, why);
  }
  return absl::OkStatus();
}

absl::Status Store::JudgeAgain(int64_t run_id) {
  absl::Time now = clock_->Now();
  {
    // Asked first without holding up who writes: mostly nothing goes, and after
    // a start there are many runs to ask.
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
    ASSIGN_OR_RETURN(auto run, catalog::FindRunById(*txn, run_id));
    if (!run || run->deleted) return absl::OkStatus();
    ASSIGN_OR_RETURN(bool goes, IsOverBudget(*txn, run->project_id));
    if (const ckpt::Policy policy = PolicyOf(*run); policy.has_rules()) {
      ASSIGN_OR_RETURN(Judgement judgement, JudgeRun(*txn, *run, policy, leases_, now));
      goes |= std::ranges::any_of(judgement.checkpoints,
                                  [](const ckpt::Checkpoint& c) { return !c.verdict.keep; });
      if (judgement.next_change) janitor_->JudgeAt(run_id, *judgement.next_change);
    }
    if (!goes) {
      packer_->Look(run_id);
      return absl::OkStatus();
    }
  }
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(auto run, catalog::FindRunById(*txn, run_id));
  if (!run || run->deleted) return absl::OkStatus();
  ckpt::Policy policy = PolicyOf(*run);
  ASSIGN_OR_RETURN(Judgement judgement, JudgeRun(*txn, *run, policy, leases_, now));
  ASSIGN_OR_RETURN(int removed, RemoveJudged(*txn, *run, policy, judgement, now));
  ASSIGN_OR_RETURN(auto given, KeepToBudget(*txn, run->project_id));
  RETURN_IF_ERROR(txn->Commit());
  metrics_->CountVerdicts(judgement.checkpoints);
  metrics_->CountVerdicts(given);
  packer_->Look(run_id);
  if (judgement.next_change) janitor_->JudgeAt(run_id, *judgement.next_change);
  if (removed > 0) {
    spdlog::info("{} checkpoints of {} removed by time", removed, run->name.ToString());
  }
  LogGiven(given);
  return absl::OkStatus();
}

}  // namespace ckptd
