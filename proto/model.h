// The nouns of types.proto as plain structs: what the code on both sides
// computes with. convert.h goes to and from the messages. types.proto is the
// manual; comments here say only what differs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <absl/time/time.h>

#include "proto/digest.h"

namespace ckpt {

// ---- Shards ----------------------------------------------------------------

// Values equal ckpt.v1.DType's numbers.
enum class DType : uint8_t {
  kNone = 0, kF64 = 1, kF32 = 2, kF16 = 3, kBF16 = 4, kI64 = 5, kI32 = 6, kI16 = 7, kI8 = 8,
  kU8 = 9, kBool = 10, kC64 = 11, kC128 = 12, kU16 = 13, kU32 = 14, kU64 = 15,
  kF8E4M3 = 16, kF8E5M2 = 17,
};
// Bytes of one element; 0 for kNone and for numbers that are no DType.
size_t ElementBytes(DType dtype);
// "F32"; "bytes" for kNone.
std::string_view DTypeName(DType dtype);
std::optional<DType> ParseDType(std::string_view name);

struct Entry {
  std::string name;
  DType dtype = DType::kNone;  // kNone: opaque bytes
  std::vector<int64_t> shape;
  std::vector<int64_t> global_shape;   // empty: not a slice
  std::vector<int64_t> global_offset;
  uint64_t offset = 0;  // in the shard's byte stream
  uint64_t length = 0;

  bool is_tensor() const { return dtype != DType::kNone; }
  bool operator==(const Entry&) const = default;
};

struct Chunk {
  Digest digest;
  uint32_t length = 0;
  bool operator==(const Chunk&) const = default;
};

struct Manifest {
  std::vector<Entry> entries;
  std::vector<Chunk> chunks;

  uint64_t bytes() const;  // the chunks' lengths added up
  const Entry* Find(std::string_view name) const;  // linear; nullptr if absent
  bool operator==(const Manifest&) const = default;
};

// ---- Runs and checkpoints ---------------------------------------------------

struct RunName {
  std::string project;
  std::string run;
  auto operator<=>(const RunName&) const = default;
  // "project/run"; "run" alone in the default project.
  std::string ToString() const;
};

struct SelectLatest { bool operator==(const SelectLatest&) const = default; };
struct SelectBest { std::string metric; bool operator==(const SelectBest&) const = default; };
struct SelectStep { uint64_t step = 0; bool operator==(const SelectStep&) const = default; };
struct SelectAlias { std::string alias; bool operator==(const SelectAlias&) const = default; };
struct SelectId { uint64_t id = 0; bool operator==(const SelectId&) const = default; };
using Selector = std::variant<SelectLatest, SelectBest, SelectStep, SelectAlias, SelectId>;

using Metrics = std::map<std::string, double>;

struct Reason {
  // Values equal ckpt.v1.Reason.Rule's numbers.
  enum class Rule : uint8_t {
    kUnspecified = 0, kNewest = 1, kLast = 2, kBest = 3, kEverySteps = 4, kWithin = 5,
    kHourly = 6, kDaily = 7, kWeekly = 8, kMonthly = 9, kYearly = 10, kBytes = 11, kPinned = 12,
    kAliased = 13, kReferenced = 14, kLeased = 15, kAwaitingMetric = 16, kNoRules = 17,
    kClock = 18, kDeleted = 19, kDamaged = 20, kSuperseded = 21, kBudget = 22,
  };
  Rule rule = Rule::kUnspecified;
  std::string text;
  bool operator==(const Reason&) const = default;
};

struct Verdict {
  bool keep = true;
  std::vector<Reason> reasons;
  bool operator==(const Verdict&) const = default;
};

// "last 1/3, best val_loss #1": the reasons' texts, joined.
std::string ReasonsText(const Verdict& verdict);

struct Checkpoint {
  uint64_t id = 0;
  RunName run;
  uint64_t step = 0;
  uint32_t world_size = 1;
  uint32_t timeline = 1;
  uint64_t attempt = 0;
  absl::Time committed_at;
  uint64_t bytes = 0;
  uint64_t stored_bytes = 0;
  Metrics metrics;
  std::set<std::string> pending_metrics;
  std::set<std::string> pins;
  std::set<std::string> aliases;
  std::string damage;  // empty: whole
  std::map<std::string, std::string> labels;
  Verdict verdict;     // filled where an answer promises one
  std::optional<absl::Time> removed_at;
  std::optional<absl::Time> restorable_until;
};

// ---- Policy ------------------------------------------------------------------

enum class MetricMode : uint8_t { kUnspecified = 0, kMin = 1, kMax = 2 };

struct BestRule {
  std::string metric;
  MetricMode mode = MetricMode::kUnspecified;
  uint32_t count = 1;
  bool operator==(const BestRule&) const = default;
};

struct Policy {
  std::optional<uint32_t> keep_last;
  std::vector<BestRule> keep_best;
  std::optional<uint64_t> keep_every_steps;
  std::optional<absl::Duration> keep_within;
  std::optional<uint32_t> keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly;
  std::optional<uint64_t> keep_bytes;

  absl::Duration metric_grace = absl::Hours(1);
  absl::Duration restore_grace = absl::ZeroDuration();
  absl::Duration upload_deadline = absl::Hours(24);
  uint32_t max_failed_resumes = 3;

  uint64_t version = 0;

  bool operator==(const Policy&) const = default;
  // keep_last=3, keep_best=1 by val_loss (min).
  static Policy Default();
  bool has_rules() const;
};

// One line: "keep_last=3 keep_best=1:val_loss:min".
std::string ToString(const Policy& policy);

// What a project's runs may take on disk together.
struct Budget {
  std::string project;
  uint64_t bytes = 0;  // 0: none
  bool is_default = true;
  uint64_t stored_bytes = 0;
};

// What a project may have at most.
struct Quota {
  struct Limit {
    uint64_t limit = 0;  // 0: none
    bool is_default = true;
    uint64_t used = 0;
  };
  std::string project;
  Limit bytes, checkpoints, uploads;
};
// How limits are to change; absent: as they are.
struct QuotaChange {
  struct Limit {
    std::optional<uint64_t> limit;  // 0: none; absent: back to the daemon's default
  };
  std::optional<Limit> bytes, checkpoints, uploads;
};

// ---- Tokens --------------------------------------------------------------------

// Each may what the one before may. Values equal ckpt.v1.Role's numbers.
enum class Role : uint8_t { kNone = 0, kRead = 1, kWrite = 2, kAdmin = 3 };
// "read"; "none" for kNone.
std::string_view RoleName(Role role);
std::optional<Role> ParseRole(std::string_view name);  // never kNone

struct Token {
  std::string id;
  std::string name;
  std::string project;  // empty: all projects
  Role role = Role::kNone;
  absl::Time created_at;
  std::optional<absl::Time> expires_at, last_used_at, revoked_at;
  std::string created_by;
};
// What a token is to be.
struct TokenSpec {
  std::string name;
  std::string project;  // empty: all projects
  Role role = Role::kNone;
  std::optional<absl::Duration> lifetime;  // absent: until it is revoked
};

// ---- Other answers -------------------------------------------------------------

struct Attempt {
  uint64_t number = 0;
  std::string launch_id;
  uint32_t world_size = 1;
  uint32_t timeline = 1;
  absl::Time opened_at;
  uint64_t resumed_from = 0;
};

struct Timeline {
  uint32_t number = 1;
  uint64_t forked_from = 0;  // checkpoint id; 0: from scratch
  absl::Time opened_at;
  std::string reason;
};

struct Run {
  RunName name;
  absl::Time created_at;
  uint64_t newest_attempt = 0;
  uint32_t current_timeline = 1;
  Policy policy;
  bool policy_is_default = true;
  uint64_t checkpoints = 0;
  uint64_t removed = 0;
  std::optional<Checkpoint> latest;
  uint64_t bytes = 0;
};

struct Event {
  // Values equal ckpt.v1.Event.Kind's numbers.
  enum class Kind : uint8_t {
    kUnspecified = 0, kCommitted = 1, kRemoved = 2, kRestored = 3, kReclaimed = 4, kDamaged = 5,
    kHealed = 6, kAttempt = 7, kTimeline = 8, kPolicy = 9, kPinned = 10, kUnpinned = 11,
    kAliased = 12, kUploadDropped = 13, kResumed = 14, kLoaded = 15, kLoadFailed = 16,
    kMetric = 17, kRunDeleted = 18, kUnaliased = 19,
  };
  uint64_t id = 0;
  absl::Time at;
  Kind kind = Kind::kUnspecified;
  uint64_t checkpoint_id = 0;
  uint64_t step = 0;
  std::string text;
};

struct Scrub {
  bool automatic = false;
  bool under_way = false;
  std::optional<absl::Time> started_at, ended_at, next_at;
  uint64_t bytes = 0, bytes_total = 0, chunks = 0, manifests = 0, packs = 0;
  uint64_t damaged_chunks = 0, damaged_manifests = 0, damaged_packs = 0, unreadable_chunks = 0,
           healed_chunks = 0;
  uint64_t quarantined_chunks = 0;
};

// A backup of the catalog that is whole.
struct CatalogBackup {
  uint64_t transaction = 0;  // the last one that it has
  absl::Time taken_at;       // all that was acknowledged before is in it
  uint64_t bytes = 0;        // of the file
  Digest digest;             // of the file
};

struct Stats {
  uint64_t runs = 0;
  uint64_t checkpoints = 0;
  uint64_t logical_bytes = 0;
  uint64_t stored_bytes = 0;
  uint64_t chunks = 0;
  uint64_t disk_bytes = 0;
  uint64_t disk_free_bytes = 0;
  uint64_t reclaimable_bytes = 0;
  uint64_t open_uploads = 0;
  std::string version;
  absl::Duration uptime;
  uint64_t damaged_checkpoints = 0;
  std::optional<Scrub> scrub;  // of the daemon as a whole only
};

}  // namespace ckpt
