// Tokens: made, listed, revoked, and recognized with every call.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include "daemon/catalog/catalog.h"
#include "daemon/os/clock.h"
#include "proto/model.h"
#include "proto/status.h"

namespace ckptd {

// Who makes a call. As it stands here: whoever reaches a daemon that asks for no
// tokens, and may everything.
struct Caller {
  std::string token_id, token_name;    // empty: there is no token
  std::optional<std::string> project;  // absent: all
  ckpt::Role role = ckpt::Role::kAdmin;
  absl::Time expires_at = absl::InfiniteFuture();
  uint64_t revocations = 0;  // there were when the token was looked at

  bool Covers(std::string_view name) const { return !project || *project == name; }
};

// Thread-safe. `catalog` and `clock` must outlive it.
class Tokens {
 public:
  Tokens(catalog::Catalog* catalog, os::Clock* clock);
  // Writes down when tokens were last used; so it does every minute.
  ~Tokens();

  // Whose token `text` is, "ckpt_ID_SECRET". UNAUTHENTICATED/TOKEN_INVALID in the
  // same words for one that never was, is revoked or has expired.
  absl::StatusOr<Caller> Recognize(std::string_view text);
  // Whether the caller's token still holds, for calls that take long. Costs
  // nothing as long as no token is revoked.
  absl::Status CheckAgain(Caller& caller);

  struct Made {
    ckpt::Token token;
    std::string text;  // with the secret: for the caller's eyes only
  };
  // `request_id`: of the call; the same again gives the token that it made another
  // secret. INVALID_ARGUMENT/REQUEST_ID_REUSED when that was another token, or
  // is used already.
  absl::StatusOr<Made> Create(const ckpt::TokenSpec& spec, const std::string& created_by,
                              const std::string& request_id = "");
  struct Page {
    std::vector<ckpt::Token> tokens;  // newest first
    uint64_t next = 0;                // 0: no more
  };
  // `project` absent: of all, and those for all. `before`: from a page's `next`.
  absl::StatusOr<Page> List(const std::optional<std::string>& project, bool include_ended,
                            uint64_t before, uint32_t limit);
  // Again changes nothing. NOT_FOUND/TOKEN_NOT_FOUND.
  absl::StatusOr<ckpt::Token> Revoke(const std::string& id);

  // The token's project, empty for all; nothing for one that never was.
  absl::StatusOr<std::optional<std::string>> ProjectOf(const std::string& id);
  // Whether somebody could make tokens: one for all projects that is not ended.
  absl::StatusOr<bool> HasAdmin();

 private:
  void KeepUses();
  absl::Status WriteUses();

  catalog::Catalog* const catalog_;
  os::Clock* const clock_;
  std::atomic<uint64_t> revocations_ = 0;

  absl::Mutex uses_mutex_;
  std::map<std::string, absl::Time> uses_ ABSL_GUARDED_BY(uses_mutex_);  // not written yet
  bool stopping_ ABSL_GUARDED_BY(uses_mutex_) = false;
  std::thread keeper_;
};

absl::Status TokenNotFound(std::string_view id);

}  // namespace ckptd
