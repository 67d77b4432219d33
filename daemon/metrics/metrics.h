// What the daemon counts of its own work. The parts add to these; daemon/monitor
// shows them (daemon/monitor/families.cc has their names and what they mean).
// Nothing here knows of a library for metrics.
//
// All of it counts from the start of the process, and only what has had its
// effect: a dry run and a transaction that was rolled back count nothing.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <absl/status/status.h>

#include "daemon/metrics/counter.h"
#include "proto/model.h"

namespace ckptd {

// One call's figures.
struct MethodMetrics {
  MethodMetrics();
  static constexpr size_t kCodes = 17;  // of gRPC, OK is 0
  std::array<Counter, kCodes> by_code;
  std::atomic<int64_t> running = 0;
  Histogram seconds;
};

struct DiskMetrics {
  DiskMetrics();
  Histogram data_sync_seconds;  // fdatasync of a file
  Histogram name_sync_seconds;  // fsync of a directory
  Counter errors;               // of writes and syncs
};

struct Metrics {
  // `methods`: the names of the calls, which never become more.
  explicit Metrics(const std::vector<std::string>& methods = {});

  // Push.
  Counter received_bytes, received_chunks;  // by chunk streams, refused ones too
  Counter pushes;                           // shards made durable
  Counter pushed_bytes;                     // that these have
  Counter shared_bytes;                     // of them, that were there already
  Counter stored_bytes;                     // that they took on disk
  Counter checkpoints_committed;
  Histogram commit_seconds;          // CommitShard: sync and transaction
  Histogram catalog_commit_seconds;  // the transaction's commit alone

  // Fetch.
  Counter fetches;  // streams that sent all that was asked for
  Counter sent_bytes, sent_chunks;

  // Keeping. A checkpoint counts once under each rule that is a reason.
  static constexpr size_t kRules = static_cast<size_t>(ckpt::Reason::Rule::kBudget) + 1;
  std::array<Counter, kRules> kept_by, removed_by;
  Counter checkpoints_removed;
  Counter reclaimed_bytes;  // of chunks, given back to the file system

  // Bytes at rest.
  Counter packed_chunks;  // laid on disk encoded
  Counter packed_bytes_before, packed_bytes_after;

  // Damage.
  Counter damaged_chunks, damaged_checkpoints;

  DiskMetrics disk;

  // Adds the verdicts of a judgement that has had its effect; what was removed
  // before is left out.
  void CountVerdicts(const std::vector<ckpt::Checkpoint>& judged);

  // Fixed with the constructor, so that any thread may look into it.
  std::map<std::string, MethodMetrics, std::less<>> calls;
};

// A call under way, from construction to End.
class CallMeter {
 public:
  // A method that was not declared is not counted. `if_dropped`: how it ended
  // when nobody says so.
  CallMeter(Metrics& metrics, std::string_view method, absl::StatusCode if_dropped);
  CallMeter(const CallMeter&) = delete;
  CallMeter& operator=(const CallMeter&) = delete;
  ~CallMeter() { End(if_dropped_); }

  // Only the first says how it ended.
  void End(absl::StatusCode code);

 private:
  MethodMetrics* method_;
  const absl::StatusCode if_dropped_;
  const Stopwatch watch_;
};

}  // namespace ckptd
