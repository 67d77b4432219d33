// A range of a file looked at where the page cache has it. Internal to daemon/os.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "daemon/os/file_system.h"

namespace ckptd::os {

// All of the range is in memory when this returns. Nothing where that cannot be
// had (the file ends within the range, the disk does not read it, the kernel is
// older than 5.14, too many ranges are being looked at): Read says why.
//
// The kernel may take pages back and read them once more. Where it then cannot,
// or the file was cut short since, the process that looks gets SIGBUS: here such
// pages read as zeros instead, for the reader of the digests to find.
std::unique_ptr<SharedBytes> MapRange(int fd, uint64_t offset, size_t length);

}  // namespace ckptd::os
