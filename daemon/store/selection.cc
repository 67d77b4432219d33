#include "daemon/store/selection.h"

#include <algorithm>
#include <utility>

#include "daemon/catalog/checkpoints.h"

namespace ckptd {
namespace {

using Checkpoints = std::vector<ckpt::Checkpoint>;

constexpr uint32_t kLongestPage = 256;

// What the selector may mean, newest first.
absl::StatusOr<Checkpoints> ListNamed(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                      const ckpt::Selector& selector, const Line& line) {
  if (std::holds_alternative<ckpt::SelectLatest>(selector)) {
    return ListDownToWhole(txn, run.id, line, 0);
  }
  if (std::holds_alternative<ckpt::SelectBest>(selector)) {
    return catalog::ListCheckpoints(txn, run.id, {});
  }
  if (const auto* step = std::get_if<ckpt::SelectStep>(&selector)) {
    return catalog::ListByStep(txn, run.id, step->step);
  }
  std::optional<ckpt::Checkpoint> found;
  if (const auto* alias = std::get_if<ckpt::SelectAlias>(&selector)) {
    ASSIGN_OR_RETURN(found, catalog::FindByAlias(txn, run.id, alias->alias));
  } else {
    ASSIGN_OR_RETURN(found, catalog::FindCheckpoint(txn, std::get<ckpt::SelectId>(selector).id));
  }
  Checkpoints named;
  if (found && found->run == run.name && !found->removed_at) named.push_back(*std::move(found));
  return named;
}

}  // namespace

absl::StatusOr<Line> LoadLine(catalog::ReadTxn& txn, const catalog::RunRow& run) {
  ASSIGN_OR_RETURN(std::vector<ckpt::Timeline> timelines, catalog::ListTimelines(txn, run.id));
  std::map<uint64_t, uint32_t> forks;
  if (timelines.size() > 1) {
    ASSIGN_OR_RETURN(forks, catalog::ListForks(txn, run.id));
  }
  return Line(timelines, forks, run.current_timeline);
}

absl::StatusOr<Checkpoints> ListDownToWhole(catalog::ReadTxn& txn, int64_t run_id,
                                            const Line& line, uint64_t below) {
  Checkpoints listed;
  // The first is nearly always whole and on the line.
  for (uint32_t limit = 1;; limit = std::min(limit * 4, kLongestPage)) {
    ASSIGN_OR_RETURN(Checkpoints page, catalog::ListCheckpoints(
                                           txn, run_id, {.before_id = below, .limit = limit}));
    const bool is_last = page.size() < limit;
    for (ckpt::Checkpoint& c : page) {
      listed.push_back(std::move(c));
      const ckpt::Checkpoint& last = listed.back();
      if (last.damage.empty() && line.Contains(last.timeline, last.id)) return listed;
    }
    if (is_last) return listed;
    below = listed.back().id;
  }
}

absl::StatusOr<Selection> SelectIn(catalog::ReadTxn& txn, const catalog::RunRow& run,
                                   const ckpt::Selector& selector, const ckpt::Policy& policy) {
  ASSIGN_OR_RETURN(Line line, LoadLine(txn, run));
  ASSIGN_OR_RETURN(Checkpoints read, ListNamed(txn, run, selector, line));
  Selected selected = Select(selector, read, line, policy);
  const bool is_ranked = std::holds_alternative<ckpt::SelectBest>(selector);
  if (selected.fell_back && !is_ranked) {
    // What lies before the damaged one is looked at only now.
    ckpt::Checkpoint named = *selected.named;
    ASSIGN_OR_RETURN(read, ListDownToWhole(txn, run.id, line, named.id));
    read.insert(read.begin(), std::move(named));
    selected = Select(selector, read, line, policy);
  }
  Selection selection;
  if (selected.checkpoint != nullptr) selection.checkpoint = *selected.checkpoint;
  selection.fell_back = selected.fell_back;
  selection.explanation = std::move(selected.explanation);
  return selection;
}

}  // namespace ckptd
