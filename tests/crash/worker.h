// Who pushes and prunes while the daemon is interrupted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <fmt/format.h>

#include "client/client.h"
#include "tests/crash/contents.h"
#include "tests/crash/house.h"
#include "tests/crash/model.h"

namespace ckpt::crash {

// Where the workers wait while the test looks at what the daemon holds.
// Thread-safe. Closed at first.
class Gate {
 public:
  // A worker, between two calls: waits while the gate is closed. False: it is
  // over.
  bool Pass();
  // A worker whose run has to be looked at first: waits for the gate to be
  // closed and opened again.
  void PassNext();
  // The daemon's kills when the gate was opened last.
  uint64_t kills();

  void Close();
  void AwaitParked(int workers);
  void Open(uint64_t kills);
  void End();

 private:
  void Park() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = true;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  int parked_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t openings_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t kills_ ABSL_GUARDED_BY(mutex_) = 0;
};

// What was done, to see that it was not nothing.
struct Tally {
  uint64_t calls = 0, commits = 0, unanswered = 0, ridden_out = 0, repeated = 0;
};

// Makes random calls on its runs until the gate ends. Half of them ride
// restarts out, the other half are left without an answer when the daemon is
// killed. Fails the test when an answer is none that may be.
class Worker {
 public:
  Worker(uint64_t seed, House* house, Gate* gate, std::vector<RunModel*> runs)
      : seed_(seed), random_(seed), house_(*house), gate_(*gate), runs_(std::move(runs)) {}

  void Run();
  const Tally& tally() const { return tally_; }

 private:
  using Call = std::function<absl::Status(Client&)>;
  using Question = std::function<absl::StatusOr<std::string>(Client&)>;

  void Step();
  // Makes `call`; when it was acknowledged, `change` (which the call may have
  // completed) is applied and true returned.
  bool Make(RunModel& run, const Change& change, const Call& call);
  // The same for a call that is known by its request id: one that was left
  // without an answer is made again, and has to be answered then; one that was
  // answered is sometimes made again, and has to be told the same.
  bool MakeOnce(RunModel& run, const Change& change, const Question& ask);
  std::string NewId() { return fmt::format("{}-{}", seed_, ++ids_); }
  std::function<std::string()> IdSource();
  // One that has seen nothing of what broke before the gate was opened last,
  // also where the worker waited in the middle of a step.
  Client& Fragile();

  void OpenAttempt(RunModel& run);
  void PushNew(RunModel& run);
  bool PushKnown(RunModel& run, Known known);
  void PushHalf(RunModel& run);
  void Keep(RunModel& run);
  void Fetch(RunModel& run);
  void Delete(RunModel& run);
  void Prune(RunModel& run);
  Known NewState(RunModel& run);
  const Known& Any(const RunModel& run);
  // Whether the call may or may not have happened: then the run's next look decides.
  bool IsUnanswered(const absl::Status& status, bool patient);
  void LeaveOpen(RunModel& run, const Change& change);
  // Makes a call that changes nothing of the model until it is answered.
  absl::Status Insist(RunModel& run, const std::function<absl::Status()>& call);
  void Fail(const RunModel& run, const absl::Status& status, const char* what);

  const uint64_t seed_;
  Random random_;
  House& house_;
  Gate& gate_;
  const std::vector<RunModel*> runs_;
  std::unique_ptr<Client> patient_;
  std::unique_ptr<Client> fragile_;
  std::optional<uint64_t> life_;  // the kills before `fragile_`
  Tally tally_;
  uint64_t ids_ = 0;
  std::optional<std::string> id_;  // of the calls now, if that is not to be a new one
};

}  // namespace ckpt::crash
