#include "proto/digest.h"

#include <algorithm>
#include <array>
#include <cstring>

#include <blake3.h>

namespace ckpt {
namespace {

constexpr size_t kGatherBytes = 64 << 10;

// BLAKE3 keeps what it finds the processor can do without a lock: it is had look
// before there are threads.
[[maybe_unused]] const Digest kFirst = HashBytes("");

}  // namespace

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
  // BLAKE3 hashes 16 of its 1024-byte blocks side by side, but only where they
  // are given together and aligned in the stream. What gRPC receives comes in
  // parts of 64 KiB and less at odd places, which would take twice as long: so
  // these are laid together first, in memory that stays in the core's cache.
  std::array<std::byte, kGatherBytes> gathered;
  size_t used = 0;
  for (auto part : parts) {
    while (!part.empty()) {
      if (used == 0 && part.size() >= kGatherBytes) {
        const size_t whole = part.size() / kGatherBytes * kGatherBytes;
        blake3_hasher_update(&hasher, part.data(), whole);
        part = part.subspan(whole);
        continue;
      }
      const size_t taken = std::min(part.size(), kGatherBytes - used);
      std::memcpy(gathered.data() + used, part.data(), taken);
      used += taken;
      part = part.subspan(taken);
      if (used == kGatherBytes) {
        blake3_hasher_update(&hasher, gathered.data(), used);
        used = 0;
      }
    }
  }
  blake3_hasher_update(&hasher, gathered.data(), used);
  Digest digest;
  blake3_hasher_finalize(&hasher, digest.bytes.data(), Digest::kBytes);
  return digest;
}

struct Hasher::State {
  blake3_hasher hasher;
};

Hasher::Hasher() : state_(std::make_unique<State>()) { blake3_hasher_init(&state_->hasher); }
Hasher::~Hasher() = default;

void Hasher::Add(std::span<const std::byte> part) {
  blake3_hasher_update(&state_->hasher, part.data(), part.size());
}

Digest Hasher::Get() const {
  Digest digest;
  blake3_hasher_finalize(&state_->hasher, digest.bytes.data(), Digest::kBytes);
  return digest;
}

}  // namespace ckpt
