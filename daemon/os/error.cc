#include "daemon/os/error.h"

#include <cerrno>
#include <string>
#include <system_error>

#include <fmt/format.h>

namespace ckptd::os {

absl::Status ErrnoError(int error, std::string_view action, std::string_view path) {
  const std::string text =
      fmt::format("cannot {} {}: {}", action, path, std::generic_category().message(error));
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return ckpt::MakeError(absl::StatusCode::kResourceExhausted, ckpt::reason::kNoSpace, text);
    case EROFS:
    case EACCES:
    case EPERM:
      return ckpt::MakeError(absl::StatusCode::kFailedPrecondition, ckpt::reason::kReadOnly, text);
    case ENOENT:
      return ckpt::MakeError(absl::StatusCode::kNotFound, ckpt::reason::kIoError, text);
    case EEXIST:
      return ckpt::MakeError(absl::StatusCode::kAlreadyExists, ckpt::reason::kIoError, text);
    default:
      return ckpt::MakeError(absl::StatusCode::kUnavailable, ckpt::reason::kIoError, text);
  }
}

}  // namespace ckptd::os
