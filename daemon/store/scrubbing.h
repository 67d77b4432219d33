// A pass of the scrub: reads all that is stored as the disk holds it, manifests
// first and then pack after pack, and marks what is not what its digest says.
// It only reads and marks: nothing is removed or written anew by it.
//
// What is found is asked again before it is believed: the bytes are read a second
// time, and whether the chunk still lies there is looked up in the transaction
// that marks it, since the janitor and the packer go on meanwhile. Damage that is
// found right again (a cable, a controller) is taken back.
//
// An I/O error is no damage: the chunk may be read another day. It is counted
// and logged, and after kUnreadableScrubs passes in a row that met one, the chunk
// counts as damaged: a sector that has failed for weeks will not come back, and
// a resume that waits for it never ends. The first pass that can read it takes
// that back. Where one chunk after the other cannot be read it is rather the disk
// that is gone: then the pass stands until it is there again.
//
// The place where a pass is is saved with every kSaveBytes that were read, with
// whatever it finds, and when it is told to end: a daemon that is restarted every
// day gets through all the same.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include <absl/time/time.h>

#include "daemon/catalog/catalog.h"
#include "daemon/catalog/scrub.h"
#include "daemon/chunks/chunk_store.h"
#include "daemon/metrics/metrics.h"
#include "daemon/store/damage.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckptd {

inline constexpr uint32_t kUnreadableScrubs = 3;

// Run is for one thread; the other calls are thread-safe.
class Scrubbing {
 public:
  struct Parts {
    catalog::Catalog* catalog = nullptr;
    ChunkStore* chunks = nullptr;
    Metrics* metrics = nullptr;
    bool automatic = false;   // passes begin by themselves
    absl::Duration interval;  // from the end of one to the begin of the next
    uint64_t save_bytes = 64u << 20;
    std::function<absl::Time()> now;
    // Something of the run is whole again.
    std::function<void(int64_t run_id)> judge;
    // Calls it on a thread of low priority, and waits.
    std::function<void(const std::function<void()>&)> run_low;
    // Asked between any two chunks, see Pacer::GoOn.
    std::function<bool(uint64_t bytes)> go_on;
  };
  explicit Scrubbing(Parts parts) : parts_(std::move(parts)) {}

  // Whether a pass is to begin or to go on.
  absl::StatusOr<bool> IsDue() const;
  // Begins one, or goes on where it was. OK as well when it was told to end.
  absl::Status Run();

  // From now on a pass is due, also where none begins by itself.
  absl::Status Ask();
  absl::StatusOr<ckpt::Scrub> Describe() const;

 private:
  struct Odd {
    catalog::ScrubChunk chunk;
    absl::Status status;  // OK: it was damaged or unreadable before
  };

  // False: told to end.
  absl::StatusOr<bool> ReadManifests(catalog::ScrubRow& row);
  absl::StatusOr<bool> ReadPacks(catalog::ScrubRow& row);
  absl::Status RecordManifest(catalog::ScrubRow& row, const catalog::ScrubManifest& manifest);
  absl::Status Record(catalog::ScrubRow& row, const std::vector<Odd>& odd,
                      const std::vector<PackId>& headers);
  // Whether the chunk was damaged and is right.
  absl::StatusOr<bool> RecordChunk(catalog::WriteTxn& txn, catalog::ScrubRow& row, const Odd& odd,
                                   Flagged& flagged);
  absl::Status Save(catalog::WriteTxn& txn, catalog::ScrubRow& row);
  absl::Status End(catalog::ScrubRow& row);
  absl::Status Twice(const std::function<absl::Status()>& check);

  const Parts parts_;
  uint64_t saved_bytes_ = 0;  // of the pass, when it was last saved
};

}  // namespace ckptd
