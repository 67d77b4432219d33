// Memory to write from with direct I/O.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace ckptd::os {

struct FreeMemory {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using IoMemory = std::unique_ptr<std::byte, FreeMemory>;

// `bytes` of unspecified contents, aligned to kBlockBytes or more; in huge
// pages where the kernel has them to give: direct I/O then has fewer pages to
// pin and makes larger requests. Ends the process where there is no memory, as
// operator new would.
IoMemory AllocateForIo(size_t bytes);

}  // namespace ckptd::os
