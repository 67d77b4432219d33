// The buffer that training waits for: a shard's byte stream, laid out as it
// will be sent (proto/chunking.h), so that the state is copied exactly once.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>
#include <vector>

#include "proto/model.h"
#include "proto/status.h"

namespace ckpt {

// One owner at a time; not thread-safe. Memory is kept between saves and grows
// to the largest: page-aligned, with huge pages where the kernel gives them.
// Memory that was never written costs several times the copy on its first use,
// unless FaultIn has paid for it before.
class Staging {
 public:
  Staging() = default;
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Room for `size` bytes, should it be less. Spans of before become invalid.
  // RESOURCE_EXHAUSTED: no memory.
  absl::Status Reserve(size_t size);
  // Has the kernel give the memory that Reserve asked for, until `stop` is
  // true; takes some 0.1 to 5 seconds a GiB.
  void FaultIn(const std::atomic<bool>& stop);
  size_t capacity() const { return capacity_; }

  // Lays `entries` out (name, dtype, shape, length set; offsets are set here).
  // Spans of before become invalid. What lies between entries is zero.
  // INVALID_ARGUMENT: an entry that no manifest may hold.
  // RESOURCE_EXHAUSTED: no memory.
  absl::Status Prepare(std::vector<Entry> entries);

  const std::vector<Entry>& entries() const { return manifest_.entries; }
  // Where entry `index` (in the order given to Prepare) is to be copied.
  std::span<std::byte> entry(size_t index);
  // The whole stream.
  std::span<const std::byte> bytes() const { return {memory_, size_}; }

  // Hashes all chunks with `threads` threads; the manifest is complete then,
  // and valid until the next Prepare.
  const Manifest& Hash(int threads = 1);

 private:
  Manifest manifest_;
  std::byte* memory_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
  size_t faulted_in_ = 0;  // the kernel was asked for the memory up to here
};

}  // namespace ckpt
