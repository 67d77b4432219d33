// The whole story of ckptd: what the gRPC handlers translate to, in the words
// of DESIGN. Owns the data directory.
//
// Thread-safe. Arguments are well-formed (proto/convert.h and the handlers
// checked them); what depends on state is checked here. Codes and reasons are
// those documented with each call in service.proto.
//
// Implemented by subject: store.cc (open, close), push.cc (attempt, upload),
// commit.cc, resume.cc (tickets, load reports, rewind), read.cc (resolve, open what is to
// be read), verify.cc (verify, scrub), keeping.cc (policy, prune, delete, pins, aliases),
// budget.cc, quota.cc, owners.cc, looking.cc (lists and figures), once.cc (the memory
// of answers), operation.cc (health, load, drain), backup.cc.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/projects.h"
#include "daemon/catalog/resumes.h"
#include "daemon/catalog/runs.h"
#include "daemon/catalog/uploads.h"
#include "daemon/chunks/chunk_store.h"
#include "daemon/metrics/metrics.h"
#include "daemon/os/clock.h"
#include "daemon/os/file_system.h"
#include "daemon/store/janitor.h"
#include "daemon/store/judgement.h"
#include "daemon/store/leases.h"
#include "daemon/store/once.h"
#include "daemon/store/options.h"
#include "daemon/store/packer.h"
#include "daemon/store/packing.h"
#include "daemon/store/scrubber.h"
#include "daemon/store/scrubbing.h"
#include "daemon/store/upload.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckptd {

class Store {
 public:
  // Claims the directory, opens catalog and packs, recovers what a crash left
  // and starts the janitor. `fs` and `clock` must outlive the store.
  static absl::StatusOr<std::unique_ptr<Store>> Open(StoreOptions options, os::FileSystem* fs,
                                                     os::Clock* clock);
  ~Store();

  // Takes effect for every run without a policy of its own, at its next judgement.
  void SetDefaultPolicy(const ckpt::Policy& policy);
  // Likewise, for every project without a budget of its own, or a quota.
  void SetDefaultBudget(uint64_t bytes);
  void SetDefaultQuota(const QuotaDefaults& quota);

  // What the call with this id answered, when it has had its effect; to be asked
  // before the call and, where that fails, after it: another try of the same
  // call may have come first. INVALID_ARGUMENT/REQUEST_ID_REUSED. Nothing is
  // remembered of dry runs.
  absl::StatusOr<std::optional<std::string>> AnsweredBefore(const RequestKey& request);

  // ---- Push (push.cc) ---------------------------------------------------------

  struct OpenedAttempt {
    ckpt::Attempt attempt;
    ckpt::Run run;
    bool run_created = false;
  };
  absl::StatusOr<OpenedAttempt> OpenAttempt(const ckpt::RunName& run, const std::string& launch_id,
                                            uint32_t world_size,
                                            const std::optional<ckpt::Policy>& initial_policy,
                                            bool must_exist, const Once<OpenedAttempt>& once = {});

  struct UploadRequest {
    ckpt::RunName run;
    uint64_t attempt = 0;
    uint64_t step = 0;
    uint32_t rank = 0;
    ckpt::Manifest manifest;
    ckpt::Metrics metrics;
    std::set<std::string> pending_metrics;
    std::map<std::string, std::string> labels;
  };
  struct ShardResult {
    uint32_t shards_durable = 0;
    uint32_t world_size = 1;
    std::optional<ckpt::Checkpoint> checkpoint;  // once all are durable
  };
  struct OpenedUpload {
    std::string upload_id;
    std::vector<uint32_t> missing_chunks;
    uint64_t missing_bytes = 0;
    std::optional<ShardResult> result;  // committed before
  };
  absl::StatusOr<OpenedUpload> OpenUpload(UploadRequest request);
  // The upload to append chunks to (upload.h); shared by its streams.
  // UPLOAD_NOT_FOUND, or ATTEMPT_FENCED once a newer attempt was opened.
  absl::StatusOr<std::shared_ptr<Upload>> FindUpload(const std::string& upload_id);
  // After this the upload's pack is not used again; its chunks must come again.
  void AbandonPack(const std::shared_ptr<Upload>& upload);
  absl::StatusOr<ShardResult> CommitShard(const std::string& upload_id);
  absl::Status AbortUpload(const std::string& upload_id, const Once<Done>& once = {});
  absl::StatusOr<ckpt::Checkpoint> AttachMetrics(const ckpt::RunName& run, uint64_t checkpoint_id,
                                                 const ckpt::Metrics& metrics,
                                                 const Once<ckpt::Checkpoint>& once = {});

  // ---- Resume (resume.cc) -----------------------------------------------------

  enum class Outcome : uint8_t { kNewRun = 1, kFound = 2, kDamaged = 3 };
  struct ResumeAnswer {
    Outcome outcome = Outcome::kNewRun;
    std::string explanation;
    std::optional<ckpt::Checkpoint> checkpoint;
    std::string ticket_id;
    absl::Time expires_at;
  };
  absl::StatusOr<ResumeAnswer> Resume(const ckpt::RunName& run, uint64_t attempt, uint32_t rank,
                                      const ckpt::Selector& selector, bool require_resume,
                                      const std::optional<ckpt::RunName>& from_run);
  absl::Status ReportLoad(const std::string& ticket_id, uint32_t rank, bool ok,
                          const std::string& error, bool checkpoint_at_fault,
                          const Once<Done>& once = {});
  absl::StatusOr<ckpt::Run> Rewind(const ckpt::RunName& run, uint64_t checkpoint_id,
                                   const Once<ckpt::Run>& once = {});

  // ---- Reading (read.cc) --------------------------------------------------------

  struct Resolved {
    ckpt::Checkpoint checkpoint;
    std::string explanation;
  };
  absl::StatusOr<Resolved> Resolve(const ckpt::RunName& run, const ckpt::Selector& selector,
                                   bool include_removed);

  class Reader;  // of a shard (reader.h)
  // DATA_LOSS/MANIFEST_DAMAGED marks the checkpoint damaged.
  absl::StatusOr<std::unique_ptr<Reader>> OpenReader(uint64_t checkpoint_id, uint32_t rank);

  // ---- Verifying (verify.cc) ------------------------------------------------------

  // Behind a checkpoint and all that are verified before it: runs are taken by
  // name, the newest commit of each first.
  struct VerifyPosition {
    ckpt::RunName run;
    uint64_t checkpoint_id = 0;
  };
  struct VerifyProgress {
    uint64_t bytes_done = 0, bytes_total = 0, chunks_done = 0;
    struct Damage {
      ckpt::RunName run;
      uint64_t checkpoint_id = 0, step = 0;
      uint32_t rank = 0;
      std::string entry, text;  // no entry: the manifest
    };
    std::vector<Damage> damages;             // since the report before
    std::optional<VerifyPosition> position;  // where a checkpoint has been read to its end
  };
  // Reads and compares everything, or what comes behind `after`; `report` returns
  // false to stop. What was flagged and proves whole is flagged no longer.
  absl::Status Verify(const ckpt::RunName& run, uint64_t checkpoint_id,
                      const std::function<bool(const VerifyProgress&)>& report,
                      const std::optional<VerifyPosition>& after = {});
  // All runs of the project; of all projects where it is empty.
  absl::Status VerifyAll(const std::string& project,
                         const std::function<bool(const VerifyProgress&)>& report,
                         const std::optional<VerifyPosition>& after = {});

  absl::StatusOr<ckpt::Scrub> GetScrub();
  // Begins a pass now, or has the one under way go on.
  absl::StatusOr<ckpt::Scrub> StartScrub();

  // ---- Keeping (keeping.cc) --------------------------------------------------------

  struct PruneResult {
    ckpt::RunName run;
    ckpt::Policy policy;
    std::vector<ckpt::Checkpoint> checkpoints;  // newest first, with verdicts
    uint64_t freed_bytes = 0;
  };
  struct PolicyInForce {
    ckpt::Policy policy;
    bool is_default = false;
  };
  absl::StatusOr<PolicyInForce> GetPolicy(const std::optional<ckpt::RunName>& run);
  // `policy` absent: back to the default. `if_version` 0: whatever is in force.
  absl::StatusOr<PruneResult> SetPolicy(const ckpt::RunName& run,
                                        const std::optional<ckpt::Policy>& policy, bool dry_run,
                                        uint64_t if_version, const Once<PruneResult>& once = {});
  absl::StatusOr<PruneResult> Prune(const ckpt::RunName& run, bool dry_run,
                                    const Once<PruneResult>& once = {});
  // Run by run, so that saves go on meanwhile; the answer is remembered at the end.
  absl::StatusOr<std::vector<PruneResult>> PruneProject(
      const std::string& project, bool dry_run, const Once<std::vector<PruneResult>>& once = {});
  absl::StatusOr<PruneResult> DeleteCheckpoints(const ckpt::RunName& run,
                                                const std::vector<uint64_t>& ids, bool dry_run,
                                                const Once<PruneResult>& once = {});
  absl::StatusOr<PruneResult> DeleteRun(const ckpt::RunName& run, bool dry_run,
                                        const Once<PruneResult>& once = {});
  absl::StatusOr<ckpt::Checkpoint> RestoreCheckpoint(const ckpt::RunName& run, uint64_t id,
                                                     const Once<ckpt::Checkpoint>& once = {});
  absl::StatusOr<ckpt::Checkpoint> Pin(const ckpt::RunName& run, uint64_t id,
                                       const std::string& name,
                                       const Once<ckpt::Checkpoint>& once = {});
  absl::StatusOr<ckpt::Checkpoint> Unpin(const ckpt::RunName& run, uint64_t id,
                                         const std::string& name,
                                         const Once<ckpt::Checkpoint>& once = {});
  absl::StatusOr<ckpt::Checkpoint> SetAlias(const ckpt::RunName& run, uint64_t id,
                                            const std::string& alias,
                                            const Once<ckpt::Checkpoint>& once = {});
  absl::Status DeleteAlias(const ckpt::RunName& run, const std::string& alias,
                           const Once<Done>& once = {});

  // ---- Budget (budget.cc) ------------------------------------------------------------

  absl::StatusOr<ckpt::Budget> GetBudget(const std::string& project);
  struct BudgetResult {
    ckpt::Budget budget;
    std::vector<ckpt::Checkpoint> checkpoints;  // that go, in the order given
    uint64_t freed_bytes = 0;
  };
  // `bytes` absent: back to the default; 0: none.
  absl::StatusOr<BudgetResult> SetBudget(const std::string& project,
                                         std::optional<uint64_t> bytes, bool dry_run,
                                         const Once<BudgetResult>& once = {});

  // ---- Quota (quota.cc) --------------------------------------------------------------

  // Also of a project that has no run yet.
  absl::StatusOr<ckpt::Quota> GetQuota(const std::string& project);
  absl::StatusOr<ckpt::Quota> SetQuota(const std::string& project, const ckpt::QuotaChange& change,
                                       const Once<ckpt::Quota>& once = {});

  // ---- Whose things are (owners.cc) --------------------------------------------------

  // The project of what an id names; nothing for what never was.
  absl::StatusOr<std::optional<std::string>> ProjectOfCheckpoint(uint64_t id);
  absl::StatusOr<std::optional<std::string>> ProjectOfUpload(const std::string& upload_id);
  absl::StatusOr<std::optional<std::string>> ProjectOfTicket(const std::string& ticket_id);
  // For daemon/access, whose tokens lie there too.
  catalog::Catalog* catalog() { return catalog_.get(); }

  // ---- Looking (looking.cc) ----------------------------------------------------------

  absl::StatusOr<std::vector<ckpt::Run>> ListRuns(const std::string& project,
                                                  const std::string& prefix,
                                                  const std::optional<ckpt::RunName>& after,
                                                  uint32_t limit);
  struct RunDetails {
    ckpt::Run run;
    std::vector<ckpt::Timeline> timelines;
  };
  absl::StatusOr<RunDetails> GetRun(const ckpt::RunName& run);
  struct ListRequest {
    bool include_removed = false;
    std::optional<uint64_t> min_step, max_step;
    uint32_t timeline = 0;
    bool pinned_only = false;
    uint64_t before_id = 0;
    uint32_t limit = 100;
  };
  absl::StatusOr<std::vector<ckpt::Checkpoint>> ListCheckpoints(const ckpt::RunName& run,
                                                                const ListRequest& request);
  absl::StatusOr<ckpt::Checkpoint> GetCheckpoint(uint64_t id);
  // `run` is ignored when `checkpoint_id` is given.
  absl::StatusOr<std::vector<ckpt::Event>> ListEvents(const std::optional<ckpt::RunName>& run,
                                                      uint64_t checkpoint_id, uint64_t before_id,
                                                      uint32_t limit);
  // Of everything, of a project (`run` with an empty run name), or of a run.
  absl::StatusOr<ckpt::Stats> GetStats(const std::optional<ckpt::RunName>& run);

  // ---- Operation (operation.cc) ------------------------------------------------------

  Metrics& metrics() { return *metrics_; }

  const std::string& version() const { return options_.version; }  // of the daemon

  struct Health {
    bool live = true;   // its threads do what they should
    bool ready = true;  // that, and it takes checkpoints
    bool draining = false;
    std::vector<std::string> problems;  // why not, a sentence each
  };
  // Asks the catalog and the disk: as long as these do not answer, neither does it.
  Health GetHealth();

  struct Load {
    uint64_t open_uploads = 0;    // that a stream or a commit may still come for
    uint64_t active_uploads = 0;  // of them, that it is there for, or was a moment ago
    uint64_t missing_bytes = 0;   // that they have yet to receive
    std::string oldest_active;    // one of them in words; empty: none is
  };
  Load GetLoad();
  // Files of the catalog on disk.
  absl::StatusOr<uint64_t> GetCatalogBytes();

  // Gives `sink` the bytes of a file that the catalog can be rebuilt from
  // (recovery.h), part after part (backup.cc). A failure of the sink ends it.
  // UNAVAILABLE/BACKUP_UNDER_WAY.
  using ByteSink = std::function<absl::Status(std::span<const std::byte>)>;
  absl::StatusOr<ckpt::CatalogBackup> BackUpCatalog(const ByteSink& sink);

  // From now on no attempt and no upload is opened (UNAVAILABLE/DRAINING); those
  // that are may go on.
  void Drain() { draining_ = true; }

 private:
  Store(StoreOptions options, os::FileSystem* fs, os::Clock* clock);

  ckpt::Policy DefaultPolicy() const;
  ckpt::Policy PolicyOf(const catalog::RunRow& run) const;
  // RUN_NOT_FOUND for one that never was or is deleted.
  absl::StatusOr<catalog::RunRow> RequireRun(catalog::ReadTxn& txn, const ckpt::RunName& run);
  // A committed checkpoint of the run that is not removed.
  absl::StatusOr<ckpt::Checkpoint> RequireCheckpoint(catalog::ReadTxn& txn,
                                                     const ckpt::RunName& run, uint64_t id);
  absl::StatusOr<ckpt::Run> DescribeRun(catalog::ReadTxn& txn, const catalog::RunRow& row);
  // With the verdict of judging its run now.
  absl::StatusOr<ckpt::Checkpoint> DescribeCheckpoint(catalog::ReadTxn& txn, uint64_t id);
  // Of judging its run now; `checkpoint` is not removed.
  absl::StatusOr<ckpt::Verdict> VerdictOn(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                          const ckpt::Checkpoint& checkpoint);
  absl::Status AddEvent(catalog::WriteTxn& txn, int64_t run_id, ckpt::Event::Kind kind,
                        uint64_t checkpoint_id, uint64_t step, std::string text);

  // Remembers `result` as the call's answer; the last thing before the commit of
  // its effect. ABORTED when another try of the call came first.
  template <typename Result>
  absl::Status Remember(catalog::WriteTxn& txn, const Once<Result>& once, const Result& result) {
    if (once.request.id.empty()) return absl::OkStatus();
    return catalog::InsertAnswer(txn, once.request, once.answer(result), clock_->Now());
  }

  absl::Status CheckSpace(uint64_t needed);
  absl::StatusOr<uint32_t> ChooseTimeline(catalog::WriteTxn& txn, const catalog::RunRow& run,
                                          const catalog::AttemptRow& attempt, uint64_t step);
  absl::StatusOr<ShardResult> RecordShard(Upload& upload);
  void CountPush(const Upload& upload);
  absl::StatusOr<ShardResult> ResultOf(catalog::ReadTxn& txn, int64_t shard_row);
  absl::StatusOr<std::unique_ptr<PackWriter>> OpenPack(int64_t shard_row,
                                                        uint64_t expected_bytes);
  // Takes an unfinished upload out of the catalog, and says why in the history.
  // ForgetUpload it once that is committed.
  absl::Status DropUploadIn(catalog::WriteTxn& txn, const catalog::UploadRow& row,
                            const std::string& why);
  void ForgetUpload(int64_t shard_row);
  // nullptr: not open (any more).
  std::shared_ptr<Upload> Session(int64_t shard_row);
  // Uploads of older attempts can never be finished: what they wrote goes at
  // once, and the space kept for them is free.
  void ForgetFenced(int64_t run_id, uint64_t newest_attempt);
  // The pack is never written to again, and nothing in it is used. 0 is none.
  void Abandon(PackId pack);

  // Which run a resume takes its checkpoint from: `from_run` only as long as the
  // run has none of its own.
  absl::StatusOr<catalog::RunRow> SourceOf(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                           const std::optional<ckpt::RunName>& from_run);
  // Flags what the resume would be offered, as long as a manifest of that is damaged.
  absl::Status CheckManifests(const ckpt::RunName& run, uint64_t attempt,
                              const ckpt::Selector& selector,
                              const std::optional<ckpt::RunName>& from_run);
  absl::StatusOr<ResumeAnswer> AnswerOf(catalog::ReadTxn& txn, const catalog::TicketRow& ticket);
  absl::StatusOr<catalog::TicketRow> NewTicket(catalog::WriteTxn& txn, const catalog::RunRow& run,
                                               const catalog::AttemptRow& attempt,
                                               const ckpt::Selector& selector,
                                               const std::optional<ckpt::RunName>& from_run,
                                               bool require_resume);
  // Judges and removes; the caller commits, or for a dry run does not.
  absl::StatusOr<PruneResult> PruneIn(catalog::WriteTxn& txn, const catalog::RunRow& run);
  // One transaction around `change` of a checkpoint, then the checkpoint anew.
  absl::StatusOr<ckpt::Checkpoint> Change(
      const ckpt::RunName& run, uint64_t id, const Once<ckpt::Checkpoint>& once,
      const std::function<absl::Status(catalog::WriteTxn&, const catalog::RunRow&,
                                       const ckpt::Checkpoint&)>& change);

  uint64_t BudgetOf(const catalog::ProjectRow& project) const;
  absl::StatusOr<ckpt::Budget> DescribeBudget(catalog::ReadTxn& txn,
                                              const catalog::ProjectRow& project);
  // Whether the project may have to give; what is removed and holds its space
  // still counts.
  absl::StatusOr<bool> IsOverBudget(catalog::ReadTxn& txn, int64_t project_id);
  // Removes what the project has to give to be within its budget, if anything;
  // the caller commits. Runs are judged already: what no rule keeps is gone.
  absl::StatusOr<std::vector<ckpt::Checkpoint>> KeepToBudget(catalog::WriteTxn& txn,
                                                             int64_t project_id);
  // The same, and says so in the results of the runs that give.
  absl::StatusOr<std::vector<ckpt::Checkpoint>> PruneToBudget(catalog::WriteTxn& txn,
                                                              int64_t project_id,
                                                              std::vector<PruneResult>& results);
  static void LogGiven(const std::vector<ckpt::Checkpoint>& given);

  // `project` as it is, or would be without any run.
  absl::StatusOr<ckpt::Quota> DescribeQuota(catalog::ReadTxn& txn,
                                            const catalog::ProjectRow& project);
  // RESOURCE_EXHAUSTED/QUOTA_EXCEEDED when the project, as `txn` sees it, has more
  // than it may, or would with `more_bytes` on disk.
  absl::Status CheckQuota(catalog::ReadTxn& txn, int64_t project_id, uint64_t more_bytes);
  // Announced by open uploads.
  uint64_t AnnouncedBytes(int64_t project_id);

  absl::Status FlagFruitless(catalog::WriteTxn& txn, const catalog::RunRow& run);
  absl::Status MarkManifestDamaged(uint64_t checkpoint_id, uint32_t rank);
  // Reads what is not removed of `checkpoints`, adding to `progress`.
  absl::Status VerifyThese(const std::vector<ckpt::Checkpoint>& checkpoints,
                           VerifyProgress& progress,
                           const std::function<bool(const VerifyProgress&)>& report);
  // Its bytes were all read and are right. DATA_LOSS where a base's are not, on
  // the disk itself.
  absl::Status Heal(uint64_t checkpoint_id);

  // The janitor's work.
  // Removes abandoned packs, and lets the catalog know.
  absl::Status RemoveAllAbandoned();
  absl::Status RemoveAbandoned(PackId pack);
  absl::StatusOr<bool> ReclaimBatch();
  // Takes a removed checkpoint's references away, in small transactions, at most as
  // many as `transactions`, which it counts down. False: it is not time yet.
  absl::StatusOr<bool> Release(uint64_t checkpoint_id, int& transactions);
  absl::Status DropStaleUploads();
  absl::Status ForgetAnswers();
  // Why the unfinished upload should go; empty: it should not.
  absl::StatusOr<std::string> WhyStale(catalog::ReadTxn& txn, int64_t shard_row);
  absl::Status JudgeAgain(int64_t run_id);
  void LeaseEnded(uint64_t checkpoint_id);

  // Whether a stream or a commit has hold of an upload.
  bool IsPushUnderWay();
  // UNAVAILABLE/DRAINING once Drain was called.
  absl::Status CheckNotDraining() const;
  absl::StatusOr<ckpt::CatalogBackup> StreamCatalog(const ByteSink& sink);
  void MakePacker();
  void MakeScrubber();

  const StoreOptions options_;
  os::FileSystem* const fs_;
  os::Clock* const clock_;
  const absl::Time opened_at_;
  Metrics own_metrics_;
  Metrics* const metrics_;
  std::atomic<bool> draining_ = false;
  std::atomic<bool> backing_up_ = false;
  mutable absl::Mutex policy_mutex_;
  ckpt::Policy default_policy_ ABSL_GUARDED_BY(policy_mutex_);
  QuotaDefaults default_quota_ ABSL_GUARDED_BY(policy_mutex_);
  std::atomic<uint64_t> default_budget_;

  std::unique_ptr<os::FileLock> lock_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<ChunkStore> chunks_;
  Leases leases_;

  absl::Mutex uploads_mutex_;
  std::map<int64_t, std::shared_ptr<Upload>> uploads_ ABSL_GUARDED_BY(uploads_mutex_);
  // Given up, and not yet said so in the catalog: on a full disk that waits for room.
  std::vector<PackId> abandoned_ ABSL_GUARDED_BY(uploads_mutex_);

  std::unique_ptr<Packing> packing_;
  std::unique_ptr<Packer> packer_;
  std::unique_ptr<Scrubbing> scrubbing_;
  std::unique_ptr<Scrubber> scrubber_;
  std::unique_ptr<Janitor> janitor_;  // last: it uses all of the above
};

}  // namespace ckptd
