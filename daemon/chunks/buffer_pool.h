// Aligned buffers for direct I/O, few enough that any number of writers stays
// within a fixed amount of memory.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include <absl/synchronization/mutex.h>

#include "daemon/os/io_memory.h"

namespace ckptd {

// Thread-safe; must outlive its buffers. Memory is taken on first use and then
// kept.
class BufferPool {
 public:
  BufferPool(size_t buffers, size_t buffer_bytes)
      : available_(buffers), buffer_bytes_(buffer_bytes) {}

  // One buffer, aligned to os::kBlockBytes, of unspecified contents; goes back
  // when destroyed.
  class Buffer {
   public:
    Buffer(Buffer&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), memory_(other.memory_) {}
    Buffer& operator=(Buffer&&) = delete;
    ~Buffer() {
      if (pool_ != nullptr) pool_->Release(memory_);
    }
    std::span<std::byte> bytes() const { return {memory_, pool_->buffer_bytes_}; }

   private:
    friend class BufferPool;
    Buffer(BufferPool* pool, std::byte* memory) : pool_(pool), memory_(memory) {}
    BufferPool* pool_;
    std::byte* memory_;
  };

  // Waits until one is free. A thread that holds one must not ask for another.
  Buffer Acquire() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Release(std::byte* memory) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Mutex mutex_;
  size_t available_ ABSL_GUARDED_BY(mutex_);
  std::vector<os::IoMemory> idle_ ABSL_GUARDED_BY(mutex_);
  const size_t buffer_bytes_;
};

}  // namespace ckptd
