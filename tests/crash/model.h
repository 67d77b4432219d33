// What a run must look like after everything that was acknowledged, and after
// what may or may not have happened when the answer was lost.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/model.h"
#include "tests/crash/contents.h"

namespace ckpt::crash {

struct Known {
  uint64_t id = 0;  // 0: not committed, or its answer was lost
  uint64_t attempt = 0;
  uint64_t step = 0;
  std::vector<std::shared_ptr<const Shard>> shards;  // by rank
  std::optional<double> loss;
  std::set<std::string> pins, aliases;
};

// One call that changes a run.
struct Change {
  enum class Kind {
    kNothing,
    kOpenRun,  // by its first attempt
    kCommit,
    kDelete,
    kDeleteRun,
    kPin,
    kUnpin,
    kAlias,
    kUnalias,
    kLoss,
  };
  Kind kind = Kind::kNothing;
  uint64_t id = 0;
  std::string name;  // of the pin or alias
  double loss = 0;
  Known commit;
};

// One run, all of whose steps rise, so that there is one timeline. Used by one
// thread at a time.
class RunModel {
 public:
  // Keeps the last 2, and with `ranks` the best by loss.
  RunModel(RunName name, uint32_t world_size, bool ranks)
      : name(std::move(name)), world_size(world_size), ranks_(ranks) {}

  Policy policy() const;

  // An acknowledged change, and what retention makes of it.
  void Apply(const Change& change);
  // The daemon died before it answered. Settled by the next Settle.
  void LeaveOpen(Change change) { open_ = std::move(change); }
  // Decides from what is listed (nothing: the run is not there) whether the
  // open change happened. From then on that is how it has to stay.
  void Settle(const std::optional<std::vector<Checkpoint>>& listed);
  // What was decided last.
  bool happened() const { return happened_; }
  // What of `listed` is not as it must be; empty: all is.
  std::string Difference(const std::optional<std::vector<Checkpoint>>& listed) const;

  const RunName name;
  const uint32_t world_size;

  bool exists = false;
  uint64_t attempt = 0;  // 0: none is open
  uint64_t newest_attempt = 0;
  uint64_t launches = 0;
  uint64_t last_step = 0;
  std::map<uint64_t, Known> kept;  // by id: the last is the newest
  std::vector<Known> unfinished;   // offered, not committed, not aborted: may be stored in part
  std::optional<Known> again;      // pushed without an answer: may be tried again

 private:
  bool Happened(const Change& change, const std::optional<std::vector<Checkpoint>>& listed) const;
  void Judge();

  const bool ranks_;
  std::optional<Change> open_;
  bool happened_ = false;
};

// Bytes of the packs that the chunks of these runs must take, and may take
// with what is unfinished. For runs of one project.
struct Bounds {
  uint64_t least = 0, most = 0;
};
Bounds StoredBytes(const std::vector<const RunModel*>& runs);

}  // namespace ckpt::crash
