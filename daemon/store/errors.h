// The store's errors, named after what went wrong.
#pragma once

#include <cstdint>
#include <string_view>

#include "proto/model.h"
#include "proto/status.h"

namespace ckptd {

absl::Status RunNotFound(const ckpt::RunName& run);
absl::Status ProjectHasNoRuns(const std::string& project);
absl::Status AttemptNotFound(const ckpt::RunName& run, uint64_t attempt);
absl::Status AttemptFenced(const ckpt::RunName& run, uint64_t attempt, uint64_t newest);
absl::Status UploadNotFound(std::string_view upload_id);
absl::Status TicketNotFound(std::string_view ticket_id);
absl::Status CheckpointNotFound(uint64_t id);
absl::Status CheckpointRemoved(const ckpt::Checkpoint& checkpoint);
absl::Status StepContentDiffers(const ckpt::RunName& run, uint64_t step, uint32_t rank);
// `packs`: how many lie there that are newer than the catalog's newest.
absl::Status PacksOfAnotherCatalog(int64_t packs, uint64_t newest);
absl::Status BackupUnderWay();
absl::Status NoSpace(uint64_t needed, uint64_t free);
// `what`: "bytes"; `used`: with what was asked for.
absl::Status QuotaExceeded(const std::string& project, std::string_view what, uint64_t limit,
                           uint64_t used);
absl::Status SelectorMatchesNothing(const ckpt::RunName& run, const ckpt::Selector& selector);

}  // namespace ckptd
