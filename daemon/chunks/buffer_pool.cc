#include "daemon/chunks/buffer_pool.h"

#include <new>

#include "daemon/os/file_system.h"

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
  void* memory = std::aligned_alloc(os::kBlockBytes, os::RoundUpToBlock(buffer_bytes_));
  if (memory == nullptr) throw std::bad_alloc();  // as operator new would: not survivable
  return Buffer(this, static_cast<std::byte*>(memory));
}

void BufferPool::Release(std::byte* memory) {
  absl::MutexLock lock(&mutex_);
  idle_.emplace_back(memory);
  ++available_;
}

}  // namespace ckptd
