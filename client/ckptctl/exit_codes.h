// What ckptctl's exit status says. Stable: scripts compare it.
#pragma once

#include "proto/status.h"

namespace ckpt::ctl {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,        // none of the others
  kExitUsage = 2,         // a flag, name or value that makes no sense
  kExitNotFound = 3,      // no such run, checkpoint, entry or file
  kExitUnreachable = 4,   // no daemon answered
  kExitDamaged = 5,       // bytes are not what they should be
  kExitRefused = 6,       // right request, wrong state; or not confirmed
  kExitNoSpace = 7,       // a disk is full, or a limit is reached
  kExitDiffers = 8,       // diff --exit-code: the checkpoints differ
  kExitInterrupted = 130  // by SIGINT or SIGTERM
};

inline constexpr char kExitCodesHelp[] =
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 daemon unreachable,\n"
    "5 damaged data, 6 refused or not confirmed, 7 no space, 8 differs (diff --exit-code),\n"
    "130 interrupted.";

inline ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return kExitUsage;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kUnavailable:
      return kExitUnreachable;
    case absl::StatusCode::kDataLoss:
      return kExitDamaged;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kExitRefused;
    case absl::StatusCode::kResourceExhausted:
      return kExitNoSpace;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

}  // namespace ckpt::ctl
