// What a trainer holds: saves that return once the state is copied, pushed in
// the background, and the answer to where to resume.
//
//   ASSIGN_OR_RETURN(auto checkpointer, Checkpointer::Open({.run = {"default", "gpt"}}));
//   ASSIGN_OR_RETURN(Resumed resumed, checkpointer->Resume());
//   if (resumed.checkpoint) { checkpointer->Load(resumed, destinations); ... }
//   for (...) { ...; RETURN_IF_ERROR(checkpointer->Save(step, state, {.metrics = m}).status()); }
//   RETURN_IF_ERROR(checkpointer->Flush());
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"
#include "client/copier.h"
#include "client/download.h"
#include "client/staging.h"
#include "client/state.h"
#include "client/transfer.h"

namespace ckpt {

// What a save does when the one before is still under way.
enum class OnBusy {
  kWait,   // waits for it: never more than one staging buffer
  kSkip,   // does not save, and says so
  kQueue,  // stages too, up to `queue_length` waiting saves; then waits
};

// How one save ended.
struct SaveResult {
  uint64_t step = 0;
  absl::Status status;
  // The checkpoint, once this shard was the last of it.
  std::optional<Checkpoint> checkpoint;
  uint64_t sent_bytes = 0;
  uint64_t total_bytes = 0;
  absl::Duration stall;     // how long Save kept the caller, copying included
  absl::Duration duration;  // from Save's beginning until durable
};

struct CheckpointerOptions {
  ClientOptions client;
  RunName run;
  // Names this (re)start to all its ranks. Empty: CKPT_LAUNCH_ID or, with one
  // rank only, a random one.
  std::string launch_id;
  uint32_t rank = 0;
  uint32_t world_size = 1;
  std::optional<Policy> policy;  // for a run that this creates; absent: the daemon's default
  bool run_must_exist = false;
  // Resume refuses to start from scratch.
  bool require_resume = false;
  std::optional<RunName> from_run;  // resume from this run's checkpoints

  OnBusy on_busy = OnBusy::kWait;
  size_t queue_length = 1;  // kQueue: at most queue_length + 1 staging buffers
  int hash_threads = 2;
  int copy_threads = 2;  // into the staging buffer, while the caller waits
  // The niceness of the background thread (proto/priority.h), so that a save takes
  // the processor from training only where none is free. 0: as training.
  int background_nice = 10;

  // After every push, from the background thread. May be null. Must not call
  // Save, Flush or Close.
  std::function<void(const SaveResult&)> on_result;
  // An error that nobody would hear of otherwise: the destructor found it
  // unreported, or the report of a good load did not get through. Null: one
  // line on standard error.
  std::function<void(const absl::Status&)> on_lost_error;
};

struct SaveOptions {
  Metrics metrics;
  std::set<std::string> pending_metrics;  // will come by AttachMetrics
  std::map<std::string, std::string> labels;
};

enum class SaveOutcome { kStaged, kSkipped };

struct Resumed {
  ResumeAnswer answer;
  std::optional<Checkpoint> checkpoint;  // absent: start from scratch
  Manifest manifest;                     // of this rank's shard (of rank `shard`)
  uint32_t shard = 0;
};

// Thread-safe, though a trainer calls it from one thread.
class Checkpointer {
 public:
  // Opens an attempt. Fails as Client::OpenAttempt does.
  static absl::StatusOr<std::unique_ptr<Checkpointer>> Open(CheckpointerOptions options);
  // Flushes; an error that no Flush or Save reported goes to
  // on_lost_error.
  ~Checkpointer();
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  // Where to go on, by the options' require_resume and from_run, and the
  // manifest of this rank's shard. A checkpoint of fewer ranks gives rank
  // `rank % world_size`'s; a caller who reshards asks the client for others.
  absl::StatusOr<Resumed> Resume(const Selector& selector = SelectLatest{});
  // Fetches into `destinations` and tells the daemon how it went: bytes that
  // were damaged are the checkpoint's fault.
  absl::Status Load(const Resumed& resumed, const std::vector<Destination>& destinations,
                    const ProgressFn& progress = nullptr);
  // For a caller who loads by other means; call once a rank. A `status` that
  // is not OK is at the checkpoint's fault only if `checkpoint_at_fault`.
  absl::Status ReportLoad(const Resumed& resumed, const absl::Status& status,
                          bool checkpoint_at_fault = false);

  // Makes a staging buffer for `bytes` ready in the background, so that the
  // first Save need not wait for the kernel to give the memory. A Save that
  // comes first takes what is ready. A size that proves wrong costs nothing but
  // memory or time.
  void Reserve(uint64_t bytes);

  // Copies `state` and returns; the push follows in the background. An error
  // of Save itself (a bad state, no memory) is returned; so is, once, an error
  // of an earlier push that nobody has heard of yet: the save is staged all
  // the same. After ATTEMPT_FENCED every Save fails so and stages nothing.
  absl::StatusOr<SaveOutcome> Save(uint64_t step, const State& state,
                                   const SaveOptions& options = {});

  // Waits until all saves are durable or failed. The first error not yet
  // reported, then OK again.
  absl::Status Flush();
  // As Flush, but gives up after `timeout`: DEADLINE_EXCEEDED.
  absl::Status FlushFor(absl::Duration timeout);
  // The newest push's error, reported or not; OK when it succeeded.
  absl::Status LastError() const;
  // Stops what is under way, for good; saves that were not durable are lost and
  // their results say CANCELLED, as does every later Save. Flush and
  // destruction are quick then.
  void CancelPushes();

  const Attempt& attempt() const { return attempt_; }
  const Run& run() const { return run_; }  // as of Open
  bool run_created() const { return run_created_; }
  Client& client() { return *client_; }
  const CheckpointerOptions& options() const { return options_; }

 private:
  struct Job {
    uint64_t step = 0;
    SaveOptions options;
    std::unique_ptr<Staging> staging;
    absl::Time begun;
    absl::Duration stall;
  };

  Checkpointer(CheckpointerOptions options, std::unique_ptr<Client> client, OpenedAttempt opened);
  // Saves that hold a staging buffer.
  size_t busy() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return jobs_.size() + (pushing_ ? 1 : 0) + staging_;
  }
  std::unique_ptr<Staging> TakeStaging() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Gives the mutex back while it works.
  void ReserveStaging() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CopyState(const State& state, Staging& staging);
  absl::Status TakeUnreported() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status FlushUntil(absl::Time deadline);
  void PushLoop();
  SaveResult PushJob(Job& job);
  void ReportLost(const absl::Status& status);

  const CheckpointerOptions options_;
  const std::unique_ptr<Client> client_;
  const Attempt attempt_;
  const Run run_;
  const bool run_created_;
  Cancel cancel_;
  Copier copier_;

  mutable absl::Mutex mutex_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Staging>> idle_ ABSL_GUARDED_BY(mutex_);
  bool pushing_ ABSL_GUARDED_BY(mutex_) = false;
  size_t staging_ ABSL_GUARDED_BY(mutex_) = 0;       // saves that are copying now
  uint64_t to_reserve_ ABSL_GUARDED_BY(mutex_) = 0;  // bytes; 0: nothing asked for
  bool reserving_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<bool> stop_reserving_{false};
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status unreported_ ABSL_GUARDED_BY(mutex_);
  absl::Status last_error_ ABSL_GUARDED_BY(mutex_);
  absl::Status fenced_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace ckpt
