// A project's budget: what its runs may take together, and who gives when they
// take more.
#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "daemon/catalog/chunks.h"
#include "daemon/catalog/projects.h"
#include "daemon/retention/budget.h"
#include "daemon/retention/text.h"
#include "daemon/store/errors.h"
#include "daemon/store/store.h"

namespace ckptd {
namespace {

absl::StatusOr<catalog::ProjectRow> RequireProject(catalog::ReadTxn& txn, const std::string& name) {
  ASSIGN_OR_RETURN(auto project, catalog::FindProject(txn, name));
  if (!project) return ProjectHasNoRuns(name);
  return *std::move(project);
}

// What the project takes once all that is removed has been given back.
absl::StatusOr<uint64_t> StoredBytes(catalog::ReadTxn& txn, const catalog::ProjectRow& project) {
  ASSIGN_OR_RETURN(std::vector<uint64_t> removed, catalog::ListRemovedHolding(txn, project.id));
  ASSIGN_OR_RETURN(const uint64_t freed, catalog::FreedBy(txn, removed));
  return project.stored_bytes - std::min(freed, project.stored_bytes);
}

std::string WasKeptAs(const ckpt::Verdict& verdict, uint64_t budget) {
  return fmt::format("past the project's budget of {}, was: {}", retention::FormatBytes(budget),
                     ckpt::ReasonsText(verdict));
}

}  // namespace

void Store::SetDefaultBudget(uint64_t bytes) { default_budget_ = bytes; }

uint64_t Store::BudgetOf(const catalog::ProjectRow& project) const {
  return project.budget.value_or(default_budget_);
}

absl::StatusOr<ckpt::Budget> Store::DescribeBudget(catalog::ReadTxn& txn,
                                                   const catalog::ProjectRow& project) {
  ckpt::Budget budget;
  budget.project = project.name;
  budget.bytes = BudgetOf(project);
  budget.is_default = !project.budget.has_value();
  ASSIGN_OR_RETURN(budget.stored_bytes, StoredBytes(txn, project));
  return budget;
}

absl::StatusOr<ckpt::Budget> Store::GetBudget(const std::string& name) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  ASSIGN_OR_RETURN(const catalog::ProjectRow project, RequireProject(*txn, name));
  return DescribeBudget(*txn, project);
}

absl::StatusOr<Store::BudgetResult> Store::SetBudget(const std::string& name,
                                                     std::optional<uint64_t> bytes, bool dry_run,
                                                     const Once<BudgetResult>& once) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
  ASSIGN_OR_RETURN(catalog::ProjectRow project, RequireProject(*txn, name));
  RETURN_IF_ERROR(catalog::SetProjectBudget(*txn, project.id, bytes));
  project.budget = bytes;
  BudgetResult result;
  ASSIGN_OR_RETURN(const uint64_t before, StoredBytes(*txn, project));
  ASSIGN_OR_RETURN(result.checkpoints, KeepToBudget(*txn, project.id));
  ASSIGN_OR_RETURN(result.budget, DescribeBudget(*txn, project));
  result.freed_bytes = before - result.budget.stored_bytes;
  if (dry_run) return result;  // rolled back
  RETURN_IF_ERROR(Remember(*txn, once, result));
  RETURN_IF_ERROR(txn->Commit());
  metrics_->CountVerdicts(result.checkpoints);
  spdlog::info("the budget of project {} is {}", name,
               result.budget.bytes == 0 ? "none" : retention::FormatBytes(result.budget.bytes));
  LogGiven(result.checkpoints);
  janitor_->Wake();
  return result;
}

absl::StatusOr<bool> Store::IsOverBudget(catalog::ReadTxn& txn, int64_t project_id) {
  ASSIGN_OR_RETURN(auto project, catalog::FindProjectById(txn, project_id));
  if (!project) return false;
  const uint64_t budget = BudgetOf(*project);
  return budget != 0 && project->stored_bytes > budget;
}

void Store::LogGiven(const std::vector<ckpt::Checkpoint>& given) {
  for (const ckpt::Checkpoint& c : given) {
    spdlog::info("{}@{} (id {}) removed: {}", c.run.ToString(), c.step, c.id,
                 ckpt::ReasonsText(c.verdict));
  }
}

absl::StatusOr<std::vector<ckpt::Checkpoint>> Store::KeepToBudget(catalog::WriteTxn& txn,
                                                                  int64_t project_id) {
  std::vector<ckpt::Checkpoint> given;
  ASSIGN_OR_RETURN(const bool over, IsOverBudget(txn, project_id));
  if (!over) return given;  // nearly always
  ASSIGN_OR_RETURN(auto project, catalog::FindProjectById(txn, project_id));
  const uint64_t budget = BudgetOf(*project);
  ASSIGN_OR_RETURN(std::vector<uint64_t> gone, catalog::ListRemovedHolding(txn, project_id));
  // What has to go of all that lies there, that which is removed included.
  const uint64_t excess = project->stored_bytes - budget;
  ASSIGN_OR_RETURN(uint64_t freed, catalog::FreedBy(txn, gone));
  if (freed >= excess) return given;

  const absl::Time now = clock_->Now();
  std::map<int64_t, std::pair<catalog::RunRow, Judgement>> judged;
  std::vector<retention::Share> shares;
  ASSIGN_OR_RETURN(const auto runs, catalog::ListRunBytes(txn, project_id));
  for (const catalog::RunBytes& run : runs) shares.push_back({run.run_id, run.bytes});
  retention::Giving giving(
      shares, [&](int64_t run_id) -> absl::StatusOr<std::vector<retention::Kept>> {
        ASSIGN_OR_RETURN(auto run, catalog::FindRunById(txn, run_id));
        if (!run) return std::vector<retention::Kept>();
        ASSIGN_OR_RETURN(Judgement judgement, JudgeRun(txn, *run, PolicyOf(*run), leases_, now));
        std::vector<retention::Kept> kept;
        for (size_t i = 0; i < judgement.checkpoints.size(); ++i) {
          const ckpt::Checkpoint& c = judgement.checkpoints[i];
          kept.push_back({c.id, c.bytes, judgement.best_ranks[i], c.verdict});
        }
        judged.try_emplace(run_id, *std::move(run), std::move(judgement));
        return kept;
      });

  // Sharing makes it impossible to know what one of them gives back without
  // asking of all that go together: twice as many each time, then as few as do.
  std::vector<retention::Giving::Gift> gifts;
  const auto freed_with = [&](size_t count) {
    std::vector<uint64_t> ids = gone;
    for (size_t i = 0; i < count; ++i) ids.push_back(gifts[i].checkpoint.id);
    return catalog::FreedBy(txn, ids);
  };
  size_t too_few = 0;
  for (size_t wanted = 1; freed < excess; wanted *= 2) {
    const size_t before = gifts.size();
    while (gifts.size() < wanted) {
      ASSIGN_OR_RETURN(auto gift, giving.Next());
      if (!gift) break;
      gifts.push_back(*std::move(gift));
    }
    if (gifts.size() == before) break;  // nobody has any more
    ASSIGN_OR_RETURN(freed, freed_with(gifts.size()));
    if (freed < excess) too_few = gifts.size();
  }
  size_t enough = gifts.size();
  while (freed >= excess && too_few + 1 < enough) {
    const size_t middle = (too_few + enough) / 2;
    ASSIGN_OR_RETURN(const uint64_t of_middle, freed_with(middle));
    (of_middle >= excess ? enough : too_few) = middle;
  }
  gifts.resize(enough);

  for (const retention::Giving::Gift& gift : gifts) {
    const auto& [run, judgement] = judged.at(gift.run);
    const auto found =
        std::ranges::find(judgement.checkpoints, gift.checkpoint.id, &ckpt::Checkpoint::id);
    ckpt::Checkpoint checkpoint = *found;
    checkpoint.verdict = {
        false, {{ckpt::Reason::Rule::kBudget, WasKeptAs(gift.checkpoint.verdict, budget)}}};
    RETURN_IF_ERROR(
        RemoveCheckpoint(txn, run, PolicyOf(run), checkpoint, checkpoint.verdict.reasons, now));
    given.push_back(std::move(checkpoint));
  }
  if (freed < excess) {
    spdlog::warn(
        "project {} takes more than its budget of {} and has nothing left to give: what "
        "remains is each run's newest, pinned, named or being read",
        project->name, retention::FormatBytes(budget));
  }
  return given;
}

absl::StatusOr<std::vector<ckpt::Checkpoint>> Store::PruneToBudget(
    catalog::WriteTxn& txn, int64_t project_id, std::vector<PruneResult>& results) {
  ASSIGN_OR_RETURN(std::vector<ckpt::Checkpoint> given, KeepToBudget(txn, project_id));
  for (PruneResult& result : results) {
    std::vector<uint64_t> ids;
    for (const ckpt::Checkpoint& gift : given) {
      const auto found = std::ranges::find(result.checkpoints, gift.id, &ckpt::Checkpoint::id);
      if (found == result.checkpoints.end()) continue;
      found->verdict = gift.verdict;
      ids.push_back(gift.id);
    }
    ASSIGN_OR_RETURN(const uint64_t freed, catalog::FreedBy(txn, ids));
    result.freed_bytes += freed;
  }
  return given;
}

}  // namespace ckptd
