// The token that a client sends with each call.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <string>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#include "proto/status.h"

namespace ckpt {

// Thread-safe.
class TokenSource {
 public:
  // One that stays. Empty: none is sent.
  static absl::StatusOr<std::unique_ptr<TokenSource>> Fixed(const std::string& token,
                                                            const std::string& told_by);
  // What a file holds.
  static absl::StatusOr<std::unique_ptr<TokenSource>> File(std::string path);
  // Both: INVALID_ARGUMENT in one sentence, which holds no token, where there is
  // none ("ckpt_ID_SECRET").

  // The one to send now. The file is read again once it changed, so that a token
  // can be replaced under a training of weeks; while it holds none, or cannot be
  // read, the one before goes on.
  std::string Current();

 private:
  TokenSource() = default;

  std::string path_;  // empty: it stays
  absl::Mutex mutex_;
  struct stat seen_ ABSL_GUARDED_BY(mutex_) = {};
  std::string token_ ABSL_GUARDED_BY(mutex_);
};

// The bytes of a file that must not be empty; INVALID_ARGUMENT about `field`.
absl::StatusOr<std::string> ReadNamedFile(const char* field, const std::string& path);

}  // namespace ckpt
