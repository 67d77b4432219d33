#include "daemon/os/io_memory.h"

#include <stdlib.h>
#include <sys/mman.h>

#include <new>

#include "daemon/os/file_system.h"

namespace ckptd::os {
namespace {

constexpr size_t kHugePageBytes = 2 << 20;
static_assert(kHugePageBytes % kBlockBytes == 0);

}  // namespace

IoMemory AllocateForIo(size_t bytes) {
  // Not aligned_alloc, which asks for a multiple of the alignment.
  void* memory = nullptr;
  if (posix_memalign(&memory, kHugePageBytes, RoundUpToBlock(bytes)) != 0) throw std::bad_alloc();
  // Whole huge pages only: one for the rest would take more than was asked for.
  madvise(memory, bytes / kHugePageBytes * kHugePageBytes, MADV_HUGEPAGE);
  return IoMemory(static_cast<std::byte*>(memory));
}

}  // namespace ckptd::os
