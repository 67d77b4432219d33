#include "daemon/access/secret.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <absl/strings/escaping.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

namespace ckptd {
namespace {

constexpr size_t kIdBytes = 8;
constexpr size_t kSecretBytes = 32;
constexpr size_t kSaltBytes = 16;

absl::StatusOr<std::string> RandomBytes(size_t count) {
  std::string bytes(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(count)) != 1) {
    return ckpt::MakeError(absl::StatusCode::kInternal, ckpt::reason::kInternal,
                           "the system gives no random bytes to make a token of");
  }
  return bytes;
}

bool IsHex(std::string_view text, size_t bytes) {
  return text.size() == 2 * bytes && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

absl::StatusOr<std::string> Hash(const std::string& salt, const std::string& secret) {
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (HMAC(EVP_sha256(), salt.data(), static_cast<int>(salt.size()),
           reinterpret_cast<const unsigned char*>(secret.data()), secret.size(), hash,
           &length) == nullptr) {
    return ckpt::MakeError(absl::StatusCode::kInternal, ckpt::reason::kInternal,
                           "OpenSSL has no HMAC-SHA-256 to keep a token with");
  }
  return std::string(reinterpret_cast<const char*>(hash), length);
}

}  // namespace

std::string TokenText::ToString() const { return fmt::format("{}{}_{}", kTokenPrefix, id, secret); }

std::optional<TokenText> ParseTokenText(std::string_view text) {
  if (!text.starts_with(kTokenPrefix)) return std::nullopt;
  text.remove_prefix(std::strlen(kTokenPrefix));
  const size_t end = text.find('_');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view id = text.substr(0, end);
  const std::string_view secret = text.substr(end + 1);
  if (!IsHex(id, kIdBytes) || !IsHex(secret, kSecretBytes)) return std::nullopt;
  return TokenText{std::string(id), std::string(secret)};
}

absl::StatusOr<TokenText> NewTokenText() {
  ASSIGN_OR_RETURN(const std::string id, RandomBytes(kIdBytes));
  ASSIGN_OR_RETURN(const std::string secret, RandomBytes(kSecretBytes));
  return TokenText{absl::BytesToHexString(id), absl::BytesToHexString(secret)};
}

absl::StatusOr<KeptSecret> KeepSecret(const std::string& secret) {
  KeptSecret kept;
  ASSIGN_OR_RETURN(kept.salt, RandomBytes(kSaltBytes));
  ASSIGN_OR_RETURN(kept.hash, Hash(kept.salt, secret));
  return kept;
}

bool IsSecret(const std::string& secret, const KeptSecret& kept) {
  const auto hash = Hash(kept.salt, secret);
  return hash.ok() && hash->size() == kept.hash.size() &&
         CRYPTO_memcmp(hash->data(), kept.hash.data(), hash->size()) == 0;
}

}  // namespace ckptd
