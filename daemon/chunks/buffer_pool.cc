#include "daemon/chunks/buffer_pool.h"

namespace ckptd {

BufferPool::Buffer BufferPool::Acquire() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](size_t* available) { return *available > 0; }, &available_));
  --available_;
  if (!idle_.empty()) {
    std::byte* memory = idle_.back().release();
    idle_.pop_back();
    return Buffer(this, memory);
  }
  return Buffer(this, os::AllocateForIo(buffer_bytes_).release());
}

void BufferPool::Release(std::byte* memory) {
  absl::MutexLock lock(&mutex_);
  idle_.emplace_back(memory);
  ++available_;
}

}  // namespace ckptd
