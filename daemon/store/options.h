// What a store is told when it is opened.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <absl/time/time.h>

#include "proto/model.h"

namespace ckptd {

struct Metrics;

// What each project may have at most, unless it has its own limits; 0: none.
struct QuotaDefaults {
  uint64_t bytes = 0, checkpoints = 0, uploads = 0;
};

struct StoreOptions {
  std::string data_dir;
  std::string version;  // shown by GetStats
  ckpt::Policy default_policy = ckpt::Policy::Default();
  uint64_t default_budget = 0;  // bytes, of each project; 0: none
  QuotaDefaults default_quota;
  uint64_t keep_free_bytes = 64ull << 20;  // uploads leave this much of the disk free
  absl::Duration ticket_ttl = absl::Minutes(10);
  absl::Duration prune_interval = absl::Seconds(30);  // of the timer
  // History is laid on disk in fewer bytes (packing.h), at most so many of its
  // bytes a second (0: any), with this level of zstd.
  bool compress = false;
  int compress_level = 1;
  uint64_t compress_rate = 0;
  // All that is stored is read and compared, at most so many of its bytes a
  // second (0: any), and again so long after the pass before has ended. Without
  // `scrub` only when somebody asks for a pass.
  bool scrub = false;
  uint64_t scrub_rate = 16ull << 20;
  absl::Duration scrub_interval = absl::Hours(7 * 24);
  // A background thread of which nothing was heard for so long is stuck.
  absl::Duration stuck_after = absl::Minutes(5);
  // Told once, from any thread, that the catalog was found damaged while in use:
  // close the store and open it again, which repairs it.
  std::function<void()> on_catalog_damage;
  // Counted there; must outlive the store. nullptr: in the store's own.
  Metrics* metrics = nullptr;
};

}  // namespace ckptd
