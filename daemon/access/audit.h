// The audit log: who did what that removes, decides or grants, and who was
// refused. One JSON object a line, appended; no secret ever.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>
#include <google/protobuf/message.h>

#include "daemon/access/tokens.h"
#include "daemon/os/clock.h"
#include "proto/status.h"

namespace spdlog {
class logger;
}

namespace ckptd {

// One call.
struct AuditEntry {
  std::string method;
  std::string peer;                // as gRPC names it
  std::string peer_identity;       // the name in its certificate; empty: it showed none
  const Caller* caller = nullptr;  // nullptr: not known
  // What it names of runs, checkpoints, ... goes into the line.
  const google::protobuf::Message* request = nullptr;
  std::string made;  // the id of what it made
  absl::Status outcome;
};

// Thread-safe. What cannot be written is said in the daemon's log; no call fails
// for it.
class Audit {
 public:
  // Appends to `path`; once a file is full (64 MiB) it becomes PATH.1 and so on,
  // and the tenth goes. INVALID_ARGUMENT: it cannot be opened. `path` empty:
  // nothing is written.
  static absl::StatusOr<std::unique_ptr<Audit>> Open(const std::string& path, os::Clock* clock);
  ~Audit();

  void Record(const AuditEntry& entry);
  // The same for a call that was refused before it was looked at. Not more than
  // some 600 lines in ten minutes, so that nobody floods the log; how many were
  // left out is in the next line.
  void RecordRefusal(const AuditEntry& entry);

 private:
  Audit(std::shared_ptr<spdlog::logger> log, os::Clock* clock)
      : log_(std::move(log)), clock_(clock) {}
  void Write(const AuditEntry& entry, uint64_t left_out);

  const std::shared_ptr<spdlog::logger> log_;
  os::Clock* const clock_;
  absl::Mutex mutex_;
  absl::Time window_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  uint64_t refusals_ ABSL_GUARDED_BY(mutex_) = 0;  // in this window
  uint64_t left_out_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace ckptd
