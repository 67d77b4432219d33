// The text of a token, ckpt_ID_SECRET, and how the daemon knows it again.
//
// ID (16 hex digits) finds the token and is no secret. SECRET (64 hex digits) is
// 256 bits from OpenSSL's generator. Of it the daemon keeps an HMAC-SHA-256 under
// a salt of the token's own. A slow hash, as passwords need, would buy nothing: it
// makes guesses dear, and 2^256 of them cannot be made at any price; but every
// call would pay for it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "proto/status.h"

namespace ckptd {

// What a leaked token can be searched for.
inline constexpr char kTokenPrefix[] = "ckpt_";

struct TokenText {
  std::string id, secret;
  std::string ToString() const;
};
// Nothing for what is no token's text.
std::optional<TokenText> ParseTokenText(std::string_view text);
// Never the same again. INTERNAL when the system has no randomness to give.
absl::StatusOr<TokenText> NewTokenText();

// What is kept of a secret: bytes.
struct KeptSecret {
  std::string salt, hash;
};
absl::StatusOr<KeptSecret> KeepSecret(const std::string& secret);
// In a time that does not depend on where they differ.
bool IsSecret(const std::string& secret, const KeptSecret& kept);

}  // namespace ckptd
