// What follows from damage on disk: the checkpoints that need what is damaged
// are flagged, and are whole again when nothing of theirs is any more. Each
// change of a flag is an event in the run's history and a line in the log.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <absl/time/time.h>

#include "daemon/catalog/catalog.h"
#include "daemon/chunks/chunk_store.h"
#include "proto/status.h"

namespace ckptd {

struct FoundDamage {
  int64_t project_id = 0;
  StoredChunk chunk;      // where it lay when it was looked up, before it was read
  std::string text;       // what is wrong with it
  uint64_t read_for = 0;  // the checkpoint that it was read for; 0: by the scrub
};
// What was found, and how many checkpoints had not been flagged before.
struct Flagged {
  bool found = false;
  uint64_t checkpoints = 0;
};
// The chunk was read and is not what its digest says: flags all who need it.
// Nothing is found where it is gone or lies elsewhere by now: what was read is
// nobody's.
absl::StatusOr<Flagged> FlagChunk(catalog::WriteTxn& txn, const FoundDamage& found,
                                  absl::Time now);

// A shard's manifest was read and is not what its digest says. Asked again here.
absl::StatusOr<Flagged> FlagManifest(catalog::WriteTxn& txn, uint64_t checkpoint_id, uint32_t rank,
                                     absl::Time now);

// Flags a checkpoint that needs something damaged and does not say so yet.
absl::Status FlagIfDamaged(catalog::WriteTxn& txn, uint64_t checkpoint_id, absl::Time now);

// Takes the flag from all that were flagged for what lies on disk and of which
// nothing is damaged any more; `why` is how that came. Their runs, which are to
// be judged again.
absl::StatusOr<std::vector<int64_t>> HealIntact(catalog::WriteTxn& txn, std::string_view why,
                                                absl::Time now);
// Takes the flag from this one, whatever it was flagged for.
absl::Status HealCheckpoint(catalog::WriteTxn& txn, uint64_t checkpoint_id, std::string_view why,
                            absl::Time now);

}  // namespace ckptd
