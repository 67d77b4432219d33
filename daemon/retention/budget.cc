#include "daemon/retention/budget.h"

#include <algorithm>
#include <utility>

namespace ckptd::retention {

using Rule = ckpt::Reason::Rule;

bool IsGivable(const ckpt::Verdict& verdict) {
  return verdict.keep && std::ranges::none_of(verdict.reasons, [](const ckpt::Reason& reason) {
           switch (reason.rule) {
             case Rule::kNewest:
             case Rule::kPinned:
             case Rule::kAliased:
             case Rule::kReferenced:
             case Rule::kLeased:
             case Rule::kAwaitingMetric:
             case Rule::kClock:
             case Rule::kDamaged:
               return true;
             default:
               return false;
           }
         });
}

Giving::Giving(const std::vector<Share>& shares, Judge judge) : judge_(std::move(judge)) {
  for (const Share& share : shares) {
    givers_[share.run].bytes = share.bytes;
    order_.emplace(share.bytes, -share.run);
  }
}

absl::Status Giving::LetJudge(int64_t run, Giver& giver) {
  ASSIGN_OR_RETURN(std::vector<Kept> kept, judge_(run));
  giver.judged = true;
  for (Kept& checkpoint : kept) {
    if (!IsGivable(checkpoint.verdict)) continue;
    (checkpoint.best_rank == 1 ? giver.bests : giver.ordinary).push_back(std::move(checkpoint));
  }
  // The first to go is the last here: no best before a best, the lower of the
  // bests first, and then the older.
  std::ranges::sort(giver.ordinary, [](const Kept& a, const Kept& b) {
    const uint32_t never = UINT32_MAX;
    const uint32_t rank_a = a.best_rank == 0 ? never : a.best_rank;
    const uint32_t rank_b = b.best_rank == 0 ? never : b.best_rank;
    return rank_a != rank_b ? rank_a < rank_b : a.id > b.id;
  });
  std::ranges::sort(giver.bests, std::greater<>(), &Kept::id);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<Giving::Gift>> Giving::Next() {
  for (;;) {
    if (order_.empty()) {
      if (bests_too_) return std::nullopt;
      bests_too_ = true;
      for (const auto& [run, giver] : givers_) {
        if (!giver.bests.empty()) order_.emplace(giver.bytes, -run);
      }
      continue;
    }
    const auto largest = std::prev(order_.end());
    const int64_t run = -std::get<1>(*largest);
    order_.erase(largest);
    Giver& giver = givers_[run];
    if (!giver.judged) RETURN_IF_ERROR(LetJudge(run, giver));
    std::vector<Kept>& from = bests_too_ ? giver.bests : giver.ordinary;
    if (from.empty()) continue;  // out of the order until the bests' turn
    Gift gift{.run = run, .checkpoint = std::move(from.back())};
    from.pop_back();
    giver.bytes -= std::min(giver.bytes, gift.checkpoint.bytes);
    order_.emplace(giver.bytes, -run);
    return gift;
  }
}

}  // namespace ckptd::retention
