// errno as a status: the only place that decides which code it becomes.
#pragma once

#include <string_view>

#include "proto/status.h"

namespace ckptd::os {

// "cannot ACTION PATH: STRERROR", with
//   ENOSPC, EDQUOT         RESOURCE_EXHAUSTED/NO_SPACE
//   EROFS, EACCES, EPERM   FAILED_PRECONDITION/READ_ONLY
//   ENOENT                 NOT_FOUND/IO_ERROR
//   EEXIST                 ALREADY_EXISTS/IO_ERROR
//   any other              UNAVAILABLE/IO_ERROR
absl::Status ErrnoError(int error, std::string_view action, std::string_view path);

}  // namespace ckptd::os
