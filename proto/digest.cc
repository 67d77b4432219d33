#include "proto/digest.h"

#include <blake3.h>

namespace ckpt {

std::string Digest::Hex() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * kBytes);
  for (uint8_t byte : bytes) {
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

std::optional<Digest> Digest::FromBytes(std::string_view raw) {
  if (raw.size() != kBytes) return std::nullopt;
  Digest digest;
  raw.copy(reinterpret_cast<char*>(digest.bytes.data()), kBytes);
  return digest;
}

std::optional<Digest> Digest::FromHex(std::string_view hex) {
  if (hex.size() != 2 * kBytes) return std::nullopt;
  auto value = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  };
  Digest digest;
  for (size_t i = 0; i < kBytes; ++i) {
    int high = value(hex[2 * i]), low = value(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    digest.bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return digest;
}

Digest HashBytes(const void* data, size_t size) {
  auto part = std::span(static_cast<const std::byte*>(data), size);
  return HashParts(std::span(&part, 1));
}

Digest HashParts(std::span<const std::span<const std::byte>> parts) {
  blake3_hasher hasher;
  blake3_hasher_init(&hasher);
  for (auto part : parts) blake3_hasher_update(&hasher, part.data(), part.size());
  Digest digest;
  blake3_hasher_finalize(&hasher, digest.bytes.data(), Digest::kBytes);
  return digest;
}

}  // namespace ckpt
