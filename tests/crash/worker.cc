#include "tests/crash/worker.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "client/upload.h"
#include "proto/convert.h"
#include "tests/crash/checks.h"

namespace ckpt::crash {
namespace {

using Kind = Change::Kind;

std::string ToText(const std::vector<Checkpoint>& checkpoints) {
  std::string text;
  for (const Checkpoint& c : checkpoints) text += ToProto(c).ShortDebugString() + "\n";
  return text;
}
std::string ToText(const PruneResult& pruned) {
  return fmt::format("{} bytes; {}", pruned.freed_bytes, ToText(pruned.checkpoints));
}

absl::StatusOr<std::string> SetPolicy(Client& client, const RunModel& run, uint64_t version) {
  ASSIGN_OR_RETURN(const PolicyChange changed,
                   client.SetPolicy(run.name, run.policy(), /*dry_run=*/false, version));
  if (changed.policy.version != version + 1) return absl::InternalError("set twice");
  return ToText(changed.result);
}

}  // namespace

// ---- Gate ----------------------------------------------------------------------

void Gate::Park() {
  const uint64_t opening = openings_;
  ++parked_;
  const auto opened = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return openings_ != opening; };
  mutex_.Await(absl::Condition(&opened));
}

bool Gate::Pass() {
  absl::MutexLock lock(&mutex_);
  if (closed_) Park();
  return !over_;
}

void Gate::PassNext() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&closed_));
  Park();
}

uint64_t Gate::kills() {
  absl::MutexLock lock(&mutex_);
  return kills_;
}

void Gate::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

void Gate::AwaitParked(int workers) {
  absl::MutexLock lock(&mutex_);
  const auto all = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return parked_ == workers; };
  mutex_.Await(absl::Condition(&all));
}

void Gate::Open(uint64_t kills) {
  absl::MutexLock lock(&mutex_);
  closed_ = false;
  parked_ = 0;
  kills_ = kills;
  ++openings_;
}

void Gate::End() {
  absl::MutexLock lock(&mutex_);
  over_ = true;
  closed_ = false;
  parked_ = 0;
  ++openings_;
}

// ---- Worker --------------------------------------------------------------------

void Worker::Run() {
  patient_ = Connect(house_.address(), Patience::kRestart, IdSource());
  while (gate_.Pass()) Step();
}

std::function<std::string()> Worker::IdSource() {
  return [this] { return id_.value_or(NewId()); };
}

Client& Worker::Fragile() {
  if (life_ != gate_.kills()) {
    life_ = gate_.kills();
    fragile_ = Connect(house_.address(), Patience::kNone, IdSource());
  }
  return *fragile_;
}

void Worker::Step() {
  RunModel& run = *runs_[Below(random_, runs_.size())];
  if (run.attempt == 0) return OpenAttempt(run);
  if (run.again) {
    Known again = *std::exchange(run.again, std::nullopt);
    if (Chance(random_, 0.6)) {
      PushKnown(run, std::move(again));
      return;
    }
  }
  const double dice = std::uniform_real_distribution<>(0, 100)(random_);
  if (dice < 55 || run.kept.empty()) return PushNew(run);
  if (dice < 65) return PushHalf(run);
  if (dice < 83) return Keep(run);
  if (dice < 88) return Delete(run);
  if (dice < 90) return Prune(run);
  if (dice < 94) return Fetch(run);
  if (dice < 99) return OpenAttempt(run);
  MakeOnce(run, {.kind = Kind::kDeleteRun}, [&](Client& client) -> absl::StatusOr<std::string> {
    ASSIGN_OR_RETURN(const DeleteRunResult deleted, client.DeleteRun(run.name));
    if (deleted.checkpoints == 0) return absl::InternalError("no checkpoint was deleted");
    return fmt::format("{} checkpoints, {} bytes", deleted.checkpoints, deleted.freed_bytes);
  });
}

bool Worker::Make(RunModel& run, const Change& change, const Call& call) {
  const bool patient = Chance(random_, 0.5);
  const uint64_t kills = house_.kills();
  const absl::Status status = call(patient ? *patient_ : Fragile());
  ++tally_.calls;
  const bool killed = house_.kills() != kills;
  if (status.ok()) {
    tally_.ridden_out += killed;
    run.Apply(change);
    return true;
  }
  if (IsUnanswered(status, patient)) {
    LeaveOpen(run, change);
  } else {
    Fail(run, status, "a call");
  }
  return false;
}

bool Worker::IsUnanswered(const absl::Status& status, bool patient) {
  if (house_.MayFail(status)) return true;
  // Unreachable, about to be, or another than the upload was opened with is right only for a
  // client that does not wait, of a daemon that was killed or told to end.
  return !patient &&
         (HasReason(status, reason::kUnreachable) || HasReason(status, reason::kDraining) ||
          HasReason(status, reason::kUploadNotFound)) &&
         house_.kills() != gate_.kills();
}

void Worker::LeaveOpen(RunModel& run, const Change& change) {
  ++tally_.unanswered;
  run.LeaveOpen(change);
  gate_.PassNext();
}

bool Worker::MakeOnce(RunModel& run, const Change& change, const Question& ask) {
  id_ = NewId();
  std::string answer;
  const Call first = [&](Client& client) -> absl::Status {
    ASSIGN_OR_RETURN(answer, ask(client));
    return absl::OkStatus();
  };
  const Call again = [&](Client& client) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string told, ask(client));
    if (told == answer) return absl::OkStatus();
    return absl::InternalError(fmt::format("first told {}, then {}", answer, told));
  };
  const uint64_t unanswered = tally_.unanswered;
  bool made = Make(run, change, first);
  bool happened = false;
  while (!made && tally_.unanswered > unanswered) {
    happened |= run.happened();
    ++tally_.repeated;
    const absl::Status status = first(*patient_);
    made = status.ok();
    if (made && !happened) run.Apply(change);
    if (made) break;
    if (!IsUnanswered(status, /*patient=*/true)) {
      Fail(run, status, "a call made again");
      break;
    }
    LeaveOpen(run, happened ? Change{} : change);
  }
  if (made && Chance(random_, 0.3)) {
    ++tally_.repeated;
    Make(run, {}, again);
  }
  id_.reset();
  return made;
}

absl::Status Worker::Insist(RunModel& run, const std::function<absl::Status()>& call) {
  while (true) {
    absl::Status status = call();
    if (!IsUnanswered(status, /*patient=*/true)) return status;
    LeaveOpen(run, {});
  }
}

void Worker::Fail(const RunModel& run, const absl::Status& status, const char* what) {
  ADD_FAILURE() << what << " of " << run.name.ToString() << ": " << status;
}

const Known& Worker::Any(const RunModel& run) {
  return std::next(run.kept.begin(), static_cast<long>(Below(random_, run.kept.size())))->second;
}

// What a restarted trainer does: a new attempt, the newest checkpoint.
void Worker::OpenAttempt(RunModel& run) {
  const std::string launch = fmt::format("launch-{}", ++run.launches);
  const auto opened = patient_->OpenAttempt(run.name, launch, run.world_size, run.policy());
  if (IsUnanswered(opened.status(), /*patient=*/true)) {
    return LeaveOpen(run, {.kind = Kind::kOpenRun});
  }
  if (!opened.ok()) return Fail(run, opened.status(), "opening an attempt");
  EXPECT_GT(opened->attempt.number, run.newest_attempt) << run.name.ToString();
  run.exists = true;
  run.attempt = run.newest_attempt = opened->attempt.number;
  run.again.reset();
  for (uint32_t rank = 0; rank < run.world_size; ++rank) {
    absl::StatusOr<ResumeAnswer> resumed;
    const absl::Status answered = Insist(run, [&] {
      resumed = patient_->Resume({.run = run.name, .attempt = run.attempt, .rank = rank});
      return resumed.status();
    });
    if (!answered.ok()) return Fail(run, answered, "a resume");
    if (run.kept.empty()) {
      EXPECT_EQ(resumed->outcome, ResumeOutcome::kNewRun) << run.name.ToString();
      continue;
    }
    if (resumed->outcome != ResumeOutcome::kFound || !resumed->checkpoint ||
        resumed->checkpoint->id != run.kept.rbegin()->first) {
      return Fail(run, absl::DataLossError(resumed->explanation), "not the newest: a resume");
    }
    // Until then the ticket holds its checkpoint.
    const absl::Status told = Insist(run, [&] {
      return patient_->ReportLoad({.ticket_id = resumed->ticket_id, .rank = rank});
    });
    if (!told.ok()) return Fail(run, told, "a load report");
  }
}

Known Worker::NewState(RunModel& run) {
  Known known{.attempt = run.attempt, .step = run.last_step += 1 + Below(random_, 10)};
  for (uint32_t rank = 0; rank < run.world_size; ++rank) {
    const Shard* previous =
        run.kept.empty() ? nullptr : run.kept.rbegin()->second.shards[rank].get();
    known.shards.push_back(RandomShard(random_, previous));
  }
  if (Chance(random_, 0.5)) known.loss = std::uniform_real_distribution<>(1, 9)(random_);
  return known;
}

void Worker::PushNew(RunModel& run) { PushKnown(run, NewState(run)); }

bool Worker::PushKnown(RunModel& run, Known known) {
  run.unfinished.push_back(known);
  for (uint32_t rank = 0; rank < run.world_size; ++rank) {
    Staging staging;
    const Shard& shard = *known.shards[rank];
    if (absl::Status filled = Fill(shard.parts, staging); !filled.ok()) {
      Fail(run, filled, "a state");
      return false;
    }
    PushRequest request{.offer = {.run = run.name,
                                  .attempt = known.attempt,
                                  .step = known.step,
                                  .rank = rank,
                                  .manifest = &shard.manifest},
                        .source = staging.bytes()};
    if (known.loss) request.offer.metrics = {{"loss", *known.loss}};
    // Only the last shard commits; before it nothing may be listed. Where the
    // step was committed before, the first shard's answer says so already.
    const bool last = rank + 1 == run.world_size;
    Change change;
    if (last) change = {.kind = Kind::kCommit, .commit = known};
    const auto push = [&](Client& client) -> absl::Status {
      ASSIGN_OR_RETURN(const PushResult result, Push(client, request));
      if (result.checkpoint.has_value() != (last || known.id != 0)) {
        return absl::InternalError("the wrong shard committed the checkpoint");
      }
      if (!result.checkpoint) return absl::OkStatus();
      change.commit.id = result.checkpoint->id;
      if (known.id == 0 || known.id == change.commit.id) return absl::OkStatus();
      return absl::InternalError("a repeated push was told another checkpoint");
    };
    run.again = known;
    if (!Make(run, change, push)) return false;
    run.again.reset();
  }
  ++tally_.commits;
  return true;
}

// A push that breaks off on the way; then it is aborted, or left lying.
void Worker::PushHalf(RunModel& run) {
  const Known known = NewState(run);
  const Shard& shard = *known.shards[0];
  Staging staging;
  if (absl::Status filled = Fill(shard.parts, staging); !filled.ok()) {
    return Fail(run, filled, "a state");
  }
  const ShardOffer offer{
      .run = run.name, .attempt = known.attempt, .step = known.step, .manifest = &shard.manifest};
  Cancel cancel;
  const double enough = std::uniform_real_distribution<>()(random_);
  const auto stop = [&](const Progress& progress) {
    if (progress.done_bytes >= enough * progress.total_bytes) cancel.Request();
  };
  run.unfinished.push_back(known);
  const auto push = [&](Client& client) {
    const absl::Status status =
        Push(client, {.offer = offer, .source = staging.bytes()}, stop, &cancel).status();
    return absl::IsCancelled(status) ? absl::OkStatus() : status;
  };
  const auto abort = [&](Client& client) -> absl::Status {
    ASSIGN_OR_RETURN(const OpenedUpload upload, client.OpenUpload(offer));
    return client.AbortUpload(upload.upload_id);
  };
  if (!Make(run, {}, push) || Chance(random_, 0.4)) return;
  if (!Make(run, {}, abort)) return;
  std::erase_if(run.unfinished, [&](const Known& other) { return other.step == known.step; });
}

void Worker::Keep(RunModel& run) {
  const Known& any = Any(run);
  const std::string pin = fmt::format("pin-{}", Below(random_, 2));
  const std::string alias = fmt::format("alias/{}", Below(random_, 2));
  Change change{.id = any.id};
  Question ask;
  // The answer as text, when the checkpoint is as the call left it, whatever
  // has become of it since.
  const auto answered = [&](const absl::StatusOr<Checkpoint>& checkpoint,
                            auto as_asked) -> absl::StatusOr<std::string> {
    if (!checkpoint.ok()) return checkpoint.status();
    const std::string text = ToProto(*checkpoint).ShortDebugString();
    const bool right =
        checkpoint->id == change.id && !checkpoint->removed_at && as_asked(*checkpoint);
    if (!right) return absl::InternalError("answered with another state: " + text);
    return text;
  };
  switch (Below(random_, 6)) {
    case 0:
      change.kind = Kind::kPin;
      change.name = pin;
      ask = [&](Client& client) {
        return answered(client.Pin(run.name, change.id, pin),
                        [&](const Checkpoint& c) { return c.pins.contains(pin); });
      };
      break;
    case 1:
      if (any.pins.empty()) return;
      change.kind = Kind::kUnpin;
      change.name = *any.pins.begin();
      ask = [&](Client& client) {
        return answered(client.Unpin(run.name, change.id, change.name),
                        [&](const Checkpoint& c) { return !c.pins.contains(change.name); });
      };
      break;
    case 2:
      change.kind = Kind::kAlias;
      change.name = alias;
      ask = [&](Client& client) {
        return answered(client.SetAlias(run.name, alias, change.id),
                        [&](const Checkpoint& c) { return c.aliases.contains(alias); });
      };
      break;
    case 3:
      if (any.aliases.empty()) return;
      change.kind = Kind::kUnalias;
      change.name = *any.aliases.begin();
      ask = [&](Client& client) -> absl::StatusOr<std::string> {
        RETURN_IF_ERROR(client.DeleteAlias(run.name, change.name));
        return "deleted";
      };
      break;
    case 4: {
      // Based on the version in force: changed by nobody but its own first try.
      const auto before = patient_->GetPolicy(run.name);
      if (IsUnanswered(before.status(), /*patient=*/true)) return;
      if (!before.ok()) return Fail(run, before.status(), "a look at the policy");
      ask = [&run, version = before->policy.version](Client& client) {
        return SetPolicy(client, run, version);
      };
      break;
    }
    default:
      change.kind = Kind::kLoss;
      change.loss = Chance(random_, 0.2) ? std::numeric_limits<double>::quiet_NaN()
                                         : std::uniform_real_distribution<>(1, 9)(random_);
      ask = [&](Client& client) {
        return answered(client.AttachMetrics(run.name, change.id, {{"loss", change.loss}}),
                        [](const Checkpoint& c) { return c.metrics.contains("loss"); });
      };
      break;
  }
  // What is not held any more goes soon; a prune says when it has.
  if (MakeOnce(run, change, ask) && change.kind != Kind::kPin) Prune(run);
}

void Worker::Prune(RunModel& run) {
  MakeOnce(run, {}, [&](Client& client) -> absl::StatusOr<std::string> {
    ASSIGN_OR_RETURN(const PruneResult pruned, client.Prune(run.name));
    return ToText(pruned);
  });
}

void Worker::Delete(RunModel& run) {
  const Known& any = Any(run);
  if (any.id == run.kept.rbegin()->first || !any.pins.empty() || !any.aliases.empty()) return;
  const uint64_t id = any.id;
  MakeOnce(run, {.kind = Kind::kDelete, .id = id},
           [&](Client& client) -> absl::StatusOr<std::string> {
             ASSIGN_OR_RETURN(const DeleteResult deleted, client.DeleteCheckpoints(run.name, {id}));
             return fmt::format("{} bytes of {}", deleted.freed_bytes, ToText(deleted.checkpoints));
           });
}

void Worker::Fetch(RunModel& run) {
  const Known& any = Any(run);
  const auto rank = static_cast<uint32_t>(Below(random_, run.world_size));
  Make(run, {}, [&, id = any.id, shard = any.shards[rank]](Client& client) {
    return CheckContents(client, id, rank, *shard);
  });
}

}  // namespace ckpt::crash
