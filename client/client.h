// The daemon's calls as C++ methods, on the structs of proto/model.h.
//
// Every method waits for its answer, trying again as client/retry.h says, and
// gives the daemon's status (reason and fields kept; proto/service.proto names
// them). When the daemon could not be reached until the retry window ended:
// UNAVAILABLE/UNREACHABLE. Bytes of chunks travel by client/upload.h and
// client/download.h; client/checkpointer.h is what a trainer wants.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <grpcpp/channel.h>

#include "ckpt/v1/service.grpc.pb.h"
#include "client/credentials.h"
#include "client/retry.h"
#include "client/transfer.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckpt {

struct ClientOptions {
  std::string address;  // empty: client/address.h decides (CKPTD_ADDRESS, file, default)
  CredentialOptions credentials;  // token and TLS; empty: environment and file decide
  absl::Duration call_deadline = absl::Minutes(1);  // one try of one call
  // One try of a call that waits for a disk or for much work: CommitShard,
  // Prune, SetPolicy, SetBudget, DeleteCheckpoints, DeleteRun.
  absl::Duration long_call_deadline = absl::Minutes(15);
  // Streams that FetchInto fetches by at a time; 0: as many as the cores feed.
  size_t fetch_streams = 0;
  RetryOptions retry;  // retry.window: how long a daemon's absence is ridden out
  RetryWorld world;  // what is not set is the real one
};

// ---- Answers -----------------------------------------------------------------

struct OpenedAttempt {
  Attempt attempt;
  Run run;
  bool run_created = false;
};

struct ResumeQuery {
  RunName run;
  uint64_t attempt = 0;
  uint32_t rank = 0;
  Selector selector = SelectLatest{};
  bool require_resume = false;
  std::optional<RunName> from_run;
};
enum class ResumeOutcome { kNewRun = 1, kFound = 2, kDamaged = 3 };
struct ResumeAnswer {
  ResumeOutcome outcome = ResumeOutcome::kNewRun;
  std::string explanation;
  std::optional<Checkpoint> checkpoint;  // kFound, kDamaged
  std::string ticket_id;                 // empty for kNewRun
  absl::Time ticket_expires_at;
};

struct LoadReport {
  std::string ticket_id;
  uint32_t rank = 0;
  bool ok = true;
  std::string error;
  bool checkpoint_at_fault = false;
};

struct ShardOffer {
  RunName run;
  uint64_t attempt = 0;
  uint64_t step = 0;
  uint32_t rank = 0;
  const Manifest* manifest = nullptr;
  Metrics metrics;
  std::set<std::string> pending_metrics;
  std::map<std::string, std::string> labels;
};
// For the calls of a push.
struct TryOptions {
  Cancel* cancel = nullptr;
  bool retry = true;  // false: one try; the caller's loop knows better
};
struct ShardCommit {
  uint32_t shards_durable = 0;
  uint32_t world_size = 0;
  std::optional<Checkpoint> checkpoint;  // once all shards are durable
};
struct OpenedUpload {
  std::string upload_id;
  std::vector<uint32_t> missing_chunks;
  uint64_t missing_bytes = 0;
  std::optional<ShardCommit> result;  // it was committed before: nothing is left to do
};

struct Resolved {
  Checkpoint checkpoint;
  std::string explanation;
};
struct RunDetails {
  Run run;
  std::vector<Timeline> timelines;
};
struct CheckpointDetails {
  Checkpoint checkpoint;
  std::vector<Event> events;  // newest first
};
struct CheckpointFilter {
  bool include_removed = false;
  std::optional<uint64_t> min_step, max_step;
  uint32_t timeline = 0;  // 0: all
  bool pinned_only = false;
  size_t limit = 0;  // 0: all of them
};
struct Damage {
  RunName run;
  uint64_t checkpoint_id = 0;
  uint64_t step = 0;
  uint32_t rank = 0;
  std::string entry;  // empty: the manifest
  std::string text;
};
struct VerifyProgress {
  uint64_t bytes_done = 0, bytes_total = 0, chunks_done = 0;
  std::vector<Damage> damages;  // since the call before
};
struct VerifyResult {
  uint64_t bytes = 0, chunks = 0;
  std::vector<Damage> damages;  // all; none: everything is whole
};
struct PolicyInForce {
  Policy policy;
  bool is_default = true;
};
struct PruneResult {
  RunName run;
  Policy policy;
  std::vector<Checkpoint> checkpoints;  // newest first, each with its verdict
  uint64_t freed_bytes = 0;
};
struct PolicyChange {
  Policy policy;
  PruneResult result;
};
struct BudgetChange {
  Budget budget;                        // as set
  std::vector<Checkpoint> checkpoints;  // that go, in the order in which they are given
  uint64_t freed_bytes = 0;
};
struct DeleteResult {
  std::vector<Checkpoint> checkpoints;
  uint64_t freed_bytes = 0;
};
struct NewToken {
  Token token;
  std::string text;  // "ckpt_ID_SECRET": told here and nowhere else
};
struct DeleteRunResult {
  uint64_t checkpoints = 0;
  uint64_t freed_bytes = 0;
};

// ---- The client ----------------------------------------------------------------

// Thread-safe. One channel; cheap to share, not copyable.
class Client {
 public:
  // Does not reach for the daemon yet. INVALID_ARGUMENT: no address, or a token
  // or certificate that is none.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(ClientOptions options = {});

  // Training: push.
  absl::StatusOr<OpenedAttempt> OpenAttempt(const RunName& run, const std::string& launch_id,
                                            uint32_t world_size = 1,
                                            const std::optional<Policy>& initial_policy = {},
                                            bool must_exist = false);
  absl::StatusOr<OpenedUpload> OpenUpload(const ShardOffer& offer, const TryOptions& tries = {});
  absl::StatusOr<ShardCommit> CommitShard(const std::string& upload_id,
                                          const TryOptions& tries = {});
  absl::Status AbortUpload(const std::string& upload_id);
  absl::StatusOr<Checkpoint> AttachMetrics(const RunName& run, uint64_t checkpoint_id,
                                           const Metrics& metrics);

  // Training: resume.
  absl::StatusOr<ResumeAnswer> Resume(const ResumeQuery& query);
  absl::Status ReportLoad(const LoadReport& report);

  // Reading.
  absl::StatusOr<Resolved> Resolve(const RunName& run, const Selector& selector,
                                   bool include_removed = false);
  absl::StatusOr<Manifest> GetManifest(uint64_t checkpoint_id, uint32_t rank);

  // Looking. Lists follow the pages.
  absl::StatusOr<std::vector<Run>> ListRuns(const std::string& project = "",
                                            const std::string& name_prefix = "");
  absl::StatusOr<RunDetails> GetRun(const RunName& run);
  // Newest commit first.
  absl::StatusOr<std::vector<Checkpoint>> ListCheckpoints(const RunName& run,
                                                          const CheckpointFilter& filter = {});
  absl::StatusOr<CheckpointDetails> GetCheckpoint(uint64_t checkpoint_id);
  // Newest first. checkpoint_id 0: the whole run. limit 0: all.
  absl::StatusOr<std::vector<Event>> ListEvents(const RunName& run, uint64_t checkpoint_id = 0,
                                                size_t limit = 0);
  // Absent: the daemon as a whole; `run.run` empty: one project.
  absl::StatusOr<Stats> GetStats(const std::optional<RunName>& run = {});
  // checkpoint_id 0: all of the run. `progress` may be null. A stream that breaks
  // goes on behind the last checkpoint that was read to its end; what of the next one
  // was shown is shown again.
  absl::StatusOr<VerifyResult> Verify(const RunName& run, uint64_t checkpoint_id,
                                      const std::function<void(const VerifyProgress&)>& progress);
  // All runs of a project; of all where it is empty.
  absl::StatusOr<VerifyResult> VerifyAll(
      const std::string& project, const std::function<void(const VerifyProgress&)>& progress);
  absl::StatusOr<Scrub> GetScrub();
  // Begins a pass now, or has the one under way go on.
  absl::StatusOr<Scrub> StartScrub();

  // Keeping.
  absl::StatusOr<PolicyInForce> GetPolicy(const std::optional<RunName>& run = {});
  // No policy: back to the daemon's default.
  absl::StatusOr<PolicyChange> SetPolicy(const RunName& run, const std::optional<Policy>& policy,
                                         bool dry_run = false, uint64_t if_version = 0);
  absl::StatusOr<PruneResult> Prune(const RunName& run, bool dry_run = false);
  absl::StatusOr<std::vector<PruneResult>> PruneProject(const std::string& project,
                                                        bool dry_run = false);
  absl::StatusOr<Budget> GetBudget(const std::string& project);
  // `bytes` 0: none; absent: back to the daemon's default.
  absl::StatusOr<BudgetChange> SetBudget(const std::string& project, std::optional<uint64_t> bytes,
                                         bool dry_run = false);
  absl::StatusOr<DeleteResult> DeleteCheckpoints(const RunName& run,
                                                 const std::vector<uint64_t>& checkpoint_ids,
                                                 bool dry_run = false);
  absl::StatusOr<DeleteRunResult> DeleteRun(const RunName& run, bool dry_run = false);
  absl::StatusOr<Checkpoint> Restore(const RunName& run, uint64_t checkpoint_id);
  absl::StatusOr<Checkpoint> Pin(const RunName& run, uint64_t checkpoint_id,
                                 const std::string& name);
  absl::StatusOr<Checkpoint> Unpin(const RunName& run, uint64_t checkpoint_id,
                                   const std::string& name);
  absl::StatusOr<Checkpoint> SetAlias(const RunName& run, const std::string& alias,
                                      uint64_t checkpoint_id);
  absl::Status DeleteAlias(const RunName& run, const std::string& alias);
  absl::StatusOr<Run> Rewind(const RunName& run, uint64_t checkpoint_id);

  // Access (access.cc).
  absl::StatusOr<Quota> GetQuota(const std::string& project);
  absl::StatusOr<Quota> SetQuota(const std::string& project, const QuotaChange& change);
  absl::StatusOr<NewToken> CreateToken(const TokenSpec& spec);
  // Newest first. Empty: all that this client's token is for.
  absl::StatusOr<std::vector<Token>> ListTokens(const std::string& project = "",
                                                bool include_ended = false);
  absl::StatusOr<Token> RevokeToken(const std::string& id);

  // Operation (backup.cc). Gives `sink` the bytes of a backup of the catalog, each
  // part with its place in the file. Where the stream breaks a new backup is begun,
  // at place 0. OK once all bytes of the last one were given and are those that the
  // daemon sent; DATA_LOSS/DIGEST_MISMATCH where they are not.
  using FileSink = std::function<absl::Status(uint64_t offset, std::span<const std::byte> bytes)>;
  absl::StatusOr<CatalogBackup> BackUpCatalog(const FileSink& sink, Cancel* cancel = nullptr);

  // For upload.cc and download.cc.
  const ClientOptions& options() const { return options_; }  // `address` resolved
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  // Another one to the same daemon, with a connection of its own.
  absl::StatusOr<std::unique_ptr<Client>> Beside() const { return Connect(given_); }
  // Every call's context passes here before the call is made.
  void Authorize(grpc::ClientContext& context) const;
  // The token that a call made now would send; empty: none.
  std::string CurrentToken() const;
  // Whether `status` refuses the token that a call was made with, and there is another
  // by now: it was replaced under way, and the call is worth another try.
  bool TokenWasReplaced(const absl::Status& status, const std::string& sent) const;
  // `status` as it leaves the library: a broken line becomes UNREACHABLE, a
  // peer that is no ckptd is named.
  absl::Status Translate(const absl::Status& status) const;

 private:
  Client(ClientOptions given, std::string address, Credentials credentials);

  template <typename Request, typename Response>
  using Method = grpc::Status (v1::Checkpoints::Stub::*)(grpc::ClientContext*, const Request&,
                                                         Response*);
  // One unary call with deadline and retries (client/call.h).
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(Method<Request, Response> method, const Request& request,
                                absl::Duration deadline, const TryOptions& tries = {});
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(Method<Request, Response> method, const Request& request) {
    return Call(method, request, options_.call_deadline);
  }

  absl::StatusOr<VerifyResult> Verify(const v1::VerifyRequest& request,
                                      const std::function<void(const VerifyProgress&)>& progress);

  const ClientOptions given_;
  ClientOptions options_;
  const std::shared_ptr<TokenSource> token_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Checkpoints::Stub> stub_;
};

}  // namespace ckpt
