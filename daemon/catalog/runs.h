// Projects, runs, attempts, timelines, policies.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "proto/model.h"

namespace ckptd::catalog {

struct RunRow {
  int64_t id = 0;
  int64_t project_id = 0;
  ckpt::RunName name;
  absl::Time created_at;
  uint64_t newest_attempt = 0;    // never reset, also not by deleting the run
  uint32_t current_timeline = 1;
  std::optional<ckpt::Policy> policy;  // absent: the daemon's default
  bool deleted = false;
};

struct AttemptRow {
  uint64_t number = 0;
  std::string launch_id;
  uint32_t world_size = 1;
  absl::Time opened_at;
  uint64_t resumed_from = 0;  // checkpoint id; 0: nothing yet
  // The timeline its commits go to; 0: not decided until its first commit.
  uint32_t timeline = 0;
};

// The run, deleted ones included; nothing when there never was one.
absl::StatusOr<std::optional<RunRow>> FindRun(ReadTxn& txn, const ckpt::RunName& name);
absl::StatusOr<std::optional<RunRow>> FindRunById(ReadTxn& txn, int64_t run_id);
// Creates project and run with timeline 1, or revives a deleted run on a new
// timeline with the number after its last, attempts counting on.
absl::StatusOr<RunRow> CreateRun(WriteTxn& txn, const ckpt::RunName& name,
                                 const std::optional<ckpt::Policy>& policy, absl::Time now);
absl::Status MarkRunDeleted(WriteTxn& txn, int64_t run_id);
// Runs not deleted, by name, after `after` (exclusive), at most `limit`.
// Empty project: all projects, ordered by (project, run).
absl::StatusOr<std::vector<RunRow>> ListRuns(ReadTxn& txn, const std::string& project,
                                             const std::string& prefix,
                                             const std::optional<ckpt::RunName>& after,
                                             uint32_t limit);

// Of all runs not deleted, in no order.
absl::StatusOr<std::vector<int64_t>> ListRunIds(ReadTxn& txn);

// Sets or (nullopt) unsets the run's policy; the version counts up either way
// and is put into the stored policy. Returns the new version.
absl::StatusOr<uint64_t> SetRunPolicy(WriteTxn& txn, int64_t run_id,
                                      const std::optional<ckpt::Policy>& policy, absl::Time now);

absl::StatusOr<std::optional<AttemptRow>> FindAttempt(ReadTxn& txn, int64_t run_id, uint64_t number);
absl::StatusOr<std::optional<AttemptRow>> FindAttemptByLaunch(ReadTxn& txn, int64_t run_id,
                                                              const std::string& launch_id);
// Opens the attempt after the newest.
absl::StatusOr<AttemptRow> InsertAttempt(WriteTxn& txn, int64_t run_id,
                                         const std::string& launch_id, uint32_t world_size,
                                         absl::Time now);
absl::Status SetAttemptResumedFrom(WriteTxn& txn, int64_t run_id, uint64_t number,
                                   uint64_t checkpoint_id);
absl::Status SetAttemptTimeline(WriteTxn& txn, int64_t run_id, uint64_t number, uint32_t timeline);

absl::StatusOr<std::vector<ckpt::Timeline>> ListTimelines(ReadTxn& txn, int64_t run_id);
// For each checkpoint of the run that one of its timelines was forked from, the
// timeline that it lies on.
absl::StatusOr<std::map<uint64_t, uint32_t>> ListForks(ReadTxn& txn, int64_t run_id);
// The next number becomes the run's current timeline.
absl::StatusOr<ckpt::Timeline> InsertTimeline(WriteTxn& txn, int64_t run_id, uint64_t forked_from,
                                              const std::string& reason, absl::Time now);

}  // namespace ckptd::catalog
