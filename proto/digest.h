// BLAKE3-256, the name of a chunk.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ckpt {

// 32 bytes; ordered and hashable so that it can be a key.
struct Digest {
  static constexpr size_t kBytes = 32;
  std::array<uint8_t, kBytes> bytes{};

  auto operator<=>(const Digest&) const = default;

  // 64 lower-case hexadecimal digits.
  std::string Hex() const;
  // The 32 bytes as a protobuf `bytes` value or an SQLite BLOB.
  std::string_view View() const {
    return {reinterpret_cast<const char*>(bytes.data()), kBytes};
  }
  // Nothing unless `raw` has exactly 32 bytes.
  static std::optional<Digest> FromBytes(std::string_view raw);
  static std::optional<Digest> FromHex(std::string_view hex);
};

// The digest of `size` bytes at `data`. Thread-safe.
Digest HashBytes(const void* data, size_t size);
inline Digest HashBytes(std::string_view bytes) { return HashBytes(bytes.data(), bytes.size()); }
// The digest of the parts one after the other.
Digest HashParts(std::span<const std::span<const std::byte>> parts);

// The digest of bytes that come one part after the other. Not thread-safe.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  void Add(std::span<const std::byte> part);
  // Of all parts so far.
  Digest Get() const;

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace ckpt

template <>
struct std::hash<ckpt::Digest> {
  // The digest is uniformly distributed already: its first word will do.
  size_t operator()(const ckpt::Digest& d) const noexcept {
    size_t word;
    __builtin_memcpy(&word, d.bytes.data(), sizeof(word));
    return word;
  }
};
