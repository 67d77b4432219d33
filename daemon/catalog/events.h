// The history of runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/catalog/catalog.h"
#include "proto/model.h"

namespace ckptd::catalog {

// `event.id` is ignored.
absl::Status InsertEvent(WriteTxn& txn, int64_t run_id, const ckpt::Event& event);
// Newest first; `checkpoint_id` 0: all; `before_id` 0: from the newest.
absl::StatusOr<std::vector<ckpt::Event>> ListEvents(ReadTxn& txn, int64_t run_id,
                                                    uint64_t checkpoint_id, uint64_t before_id,
                                                    uint32_t limit);

}  // namespace ckptd::catalog
