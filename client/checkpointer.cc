#include "client/checkpointer.h"

#include <pthread.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>

#include <absl/time/clock.h>

#include "client/upload.h"
#include "proto/priority.h"

namespace ckpt {
namespace {

constexpr char kLaunchVariable[] = "CKPT_LAUNCH_ID";

absl::StatusOr<std::string> LaunchId(const CheckpointerOptions& options) {
  if (!options.launch_id.empty()) return options.launch_id;
  if (const char* variable = std::getenv(kLaunchVariable); variable != nullptr && *variable) {
    return std::string(variable);
  }
  if (options.world_size > 1) {
    return BadField("launch_id", fmt::format("all ranks of one start need the same launch id: set "
                                             "it, or {} in the environment",
                                             kLaunchVariable));
  }
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Checkpointer>> Checkpointer::Open(CheckpointerOptions options) {
  if (options.world_size == 0 || options.rank >= options.world_size) {
    return BadField(
        "rank", fmt::format("rank {} is not one of {} ranks", options.rank, options.world_size));
  }
  ASSIGN_OR_RETURN(options.launch_id, LaunchId(options));
  ASSIGN_OR_RETURN(std::unique_ptr<Client> client, Client::Connect(options.client));
  ASSIGN_OR_RETURN(OpenedAttempt opened,
                   client->OpenAttempt(options.run, options.launch_id, options.world_size,
                                       options.policy, options.run_must_exist));
  return std::unique_ptr<Checkpointer>(
      new Checkpointer(std::move(options), std::move(client), std::move(opened)));
}

Checkpointer::Checkpointer(CheckpointerOptions options, std::unique_ptr<Client> client,
                           OpenedAttempt opened)
    : options_(std::move(options)),
      client_(std::move(client)),
      attempt_(std::move(opened.attempt)),
      run_(std::move(opened.run)),
      run_created_(opened.run_created),
      copier_(options_.copy_threads),
      thread_([this] { PushLoop(); }) {}

Checkpointer::~Checkpointer() {
  if (absl::Status status = Flush(); !status.ok()) ReportLost(status);
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
    stop_reserving_ = true;
  }
  thread_.join();
}

void Checkpointer::ReportLost(const absl::Status& status) {
  if (options_.on_lost_error) {
    options_.on_lost_error(status);
  } else {
    fmt::print(stderr, "ckptd: run {}: {}\n", options_.run.ToString(),
               std::string(status.message()));
  }
}

// ---- Resume --------------------------------------------------------------------

absl::StatusOr<Resumed> Checkpointer::Resume(const Selector& selector) {
  Resumed resumed;
  ASSIGN_OR_RETURN(resumed.answer, client_->Resume({.run = options_.run,
                                                    .attempt = attempt_.number,
                                                    .rank = options_.rank,
                                                    .selector = selector,
                                                    .require_resume = options_.require_resume,
                                                    .from_run = options_.from_run}));
  resumed.checkpoint = resumed.answer.checkpoint;
  if (!resumed.checkpoint.has_value()) return resumed;
  resumed.shard = options_.rank % std::max(resumed.checkpoint->world_size, 1u);
  ASSIGN_OR_RETURN(resumed.manifest, client_->GetManifest(resumed.checkpoint->id, resumed.shard));
  return resumed;
}

absl::Status Checkpointer::Load(const Resumed& resumed,
                                const std::vector<Destination>& destinations,
                                const ProgressFn& progress) {
  if (!resumed.checkpoint.has_value()) {
    return BadField("resumed", "there is no checkpoint to load: the run is new");
  }
  const absl::Status loaded = FetchInto(*client_, resumed.checkpoint->id, resumed.shard,
                                        resumed.manifest, destinations, progress, &cancel_);
  const absl::Status reported =
      ReportLoad(resumed, loaded, loaded.code() == absl::StatusCode::kDataLoss);
  if (loaded.ok() && !reported.ok()) {
    ReportLost(Annotate(reported, "the checkpoint was loaded, but the daemon could not be told"));
  }
  return loaded;
}

absl::Status Checkpointer::ReportLoad(const Resumed& resumed, const absl::Status& status,
                                      bool checkpoint_at_fault) {
  if (resumed.answer.ticket_id.empty()) return absl::OkStatus();
  return client_->ReportLoad({.ticket_id = resumed.answer.ticket_id,
                              .rank = options_.rank,
                              .ok = status.ok(),
                              .error = std::string(status.message()),
                              .checkpoint_at_fault = !status.ok() && checkpoint_at_fault});
}

// ---- Save ----------------------------------------------------------------------

void Checkpointer::Reserve(uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  to_reserve_ = bytes;
}

void Checkpointer::ReserveStaging() {
  std::unique_ptr<Staging> staging = TakeStaging();
  const uint64_t bytes = std::exchange(to_reserve_, 0);
  reserving_ = true;
  stop_reserving_ = stop_;
  mutex_.Unlock();
  // Too little memory is the save's to report.
  if (staging->Reserve(bytes).ok()) staging->FaultIn(stop_reserving_);
  mutex_.Lock();
  reserving_ = false;
  idle_.push_back(std::move(staging));
}

absl::Status Checkpointer::CopyState(const State& state, Staging& staging) {
  // A caller's copy function runs on the caller's thread only: it may use a
  // device or an interpreter that belongs to that thread.
  std::vector<size_t> by_caller;
  std::vector<CopyPiece> pieces;
  pieces.reserve(state.entries().size());
  for (size_t i = 0; i < state.entries().size(); ++i) {
    const StateEntry& entry = state.entries()[i];
    const std::span<std::byte> into = staging.entry(i);
    if (into.empty()) continue;
    if (entry.copy) {
      by_caller.push_back(i);
    } else {
      const void* from = entry.data != nullptr ? entry.data : entry.owned.data();
      pieces.push_back({.from = from, .to = into.data(), .size = into.size()});
    }
  }
  absl::Status first_error;
  copier_.Copy(pieces, [&] {
    for (const size_t i : by_caller) {
      const StateEntry& entry = state.entries()[i];
      if (absl::Status status = entry.copy(staging.entry(i)); !status.ok()) {
        first_error = Annotate(status, fmt::format("copying entry {}", entry.name));
        return;
      }
    }
  });
  return first_error;
}

std::unique_ptr<Staging> Checkpointer::TakeStaging() {
  if (idle_.empty()) return std::make_unique<Staging>();
  std::unique_ptr<Staging> staging = std::move(idle_.back());
  idle_.pop_back();
  return staging;
}

absl::Status Checkpointer::TakeUnreported() { return std::exchange(unreported_, absl::OkStatus()); }

absl::StatusOr<SaveOutcome> Checkpointer::Save(uint64_t step, const State& state,
                                               const SaveOptions& options) {
  const absl::Time begun = absl::Now();
  ASSIGN_OR_RETURN(std::vector<Entry> entries, ManifestEntries(state));
  std::unique_ptr<Staging> staging;
  {
    absl::MutexLock lock(&mutex_);
    if (options_.on_busy == OnBusy::kSkip && busy() > 0) {
      RETURN_IF_ERROR(TakeUnreported());
      return SaveOutcome::kSkipped;
    }
    const size_t others = options_.on_busy == OnBusy::kQueue ? options_.queue_length : 0;
    const auto has_room = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return busy() <= others; };
    mutex_.Await(absl::Condition(&has_room));
    if (!fenced_.ok()) {
      unreported_ = absl::OkStatus();
      return fenced_;
    }
    if (cancel_.requested()) return absl::CancelledError("pushes were cancelled");
    to_reserve_ = 0;  // this save shows what is needed
    stop_reserving_ = true;
    const auto free = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !reserving_; };
    mutex_.Await(absl::Condition(&free));
    staging = TakeStaging();
    ++staging_;
  }
  absl::Status staged = staging->Prepare(std::move(entries));
  if (staged.ok()) staged = CopyState(state, *staging);

  absl::MutexLock lock(&mutex_);
  --staging_;
  if (!staged.ok()) {
    idle_.push_back(std::move(staging));
    return staged;
  }
  jobs_.push_back({.step = step,
                   .options = options,
                   .staging = std::move(staging),
                   .begun = begun,
                   .stall = absl::Now() - begun});
  RETURN_IF_ERROR(TakeUnreported());
  return SaveOutcome::kStaged;
}

void Checkpointer::PushLoop() {
  pthread_setname_np(pthread_self(), "ckpt-push");
  GiveWay(options_.background_nice);  // where it may not, it goes on as it is
  while (true) {
    Job job;
    {
      absl::MutexLock lock(&mutex_);
      const auto has_work = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stop_ || !jobs_.empty() || to_reserve_ > 0;
      };
      mutex_.Await(absl::Condition(&has_work));
      if (jobs_.empty() && stop_) return;
      if (jobs_.empty()) {
        ReserveStaging();
        continue;
      }
      job = std::move(jobs_.front());
      jobs_.pop_front();
      pushing_ = true;
    }
    const SaveResult result = PushJob(job);
    // Before Flush returns, so that who flushed has seen every result.
    if (options_.on_result) options_.on_result(result);
    absl::MutexLock lock(&mutex_);
    last_error_ = result.status;
    if (!result.status.ok() && unreported_.ok()) unreported_ = result.status;
    if (HasReason(result.status, reason::kAttemptFenced)) fenced_ = result.status;
    idle_.push_back(std::move(job.staging));
    pushing_ = false;
  }
}

SaveResult Checkpointer::PushJob(Job& job) {
  SaveResult result{.step = job.step, .stall = job.stall};
  const Manifest& manifest = job.staging->Hash(options_.hash_threads);
  absl::StatusOr<PushResult> pushed =
      Push(*client_,
           {.offer = {.run = options_.run,
                      .attempt = attempt_.number,
                      .step = job.step,
                      .rank = options_.rank,
                      .manifest = &manifest,
                      .metrics = std::move(job.options.metrics),
                      .pending_metrics = std::move(job.options.pending_metrics),
                      .labels = std::move(job.options.labels)},
            .source = job.staging->bytes()},
           nullptr, &cancel_);
  if (pushed.ok()) {
    result.checkpoint = std::move(pushed->checkpoint);
    result.sent_bytes = pushed->sent_bytes;
    result.total_bytes = pushed->total_bytes;
  } else {
    result.status = Annotate(pushed.status(), fmt::format("saving step {}", job.step));
  }
  result.duration = absl::Now() - job.begun;
  return result;
}

absl::Status Checkpointer::FlushUntil(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto all_done = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return busy() == 0; };
  if (!mutex_.AwaitWithDeadline(absl::Condition(&all_done), deadline)) {
    return MakeError(absl::StatusCode::kDeadlineExceeded, reason::kUnreachable,
                     fmt::format("{} saves are not durable yet", busy()));
  }
  return TakeUnreported();
}

absl::Status Checkpointer::Flush() { return FlushUntil(absl::InfiniteFuture()); }

absl::Status Checkpointer::FlushFor(absl::Duration timeout) {
  return FlushUntil(absl::Now() + timeout);
}

absl::Status Checkpointer::LastError() const {
  absl::MutexLock lock(&mutex_);
  return last_error_;
}

void Checkpointer::CancelPushes() { cancel_.Request(); }

}  // namespace ckpt
