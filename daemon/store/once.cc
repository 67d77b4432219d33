// The memory of answers (once.h).
#include "daemon/store/once.h"

#include "daemon/store/store.h"

namespace ckptd {
namespace {

// How long service.proto promises.
constexpr absl::Duration kKept = absl::Hours(24);
// Forgotten in one transaction, so that a commit never waits long for the writer.
constexpr uint32_t kBatch = 256;

}  // namespace

absl::StatusOr<std::optional<std::string>> Store::AnsweredBefore(const RequestKey& request) {
  ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
  return catalog::FindAnswer(*txn, request);
}

absl::Status Store::ForgetAnswers() {
  const absl::Time before = clock_->Now() - kKept;
  while (true) {
    {
      // Asked first without holding up who writes.
      ASSIGN_OR_RETURN(auto txn, catalog_->BeginRead());
      ASSIGN_OR_RETURN(auto oldest, catalog::OldestAnswer(*txn));
      if (!oldest || *oldest >= before) return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(auto txn, catalog_->BeginWrite());
    RETURN_IF_ERROR(catalog::DeleteAnswers(*txn, before, kBatch).status());
    RETURN_IF_ERROR(txn->Commit());
  }
}

}  // namespace ckptd
