#include "daemon/chunks/codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>

#include <fmt/format.h>
#include <zstd.h>

#include "daemon/os/little_endian.h"
#include "proto/limits.h"

namespace ckptd {
namespace {

using Bytes = std::vector<std::byte>;
using View = std::span<const std::byte>;
using os::GetAt;
using os::PutAt;

constexpr char kMagic[] = {'C', 'K', 'E', '1'};
constexpr size_t kMaxElementBytes = 8;
constexpr uint32_t kZstd = uint32_t{1} << 31;
enum class Codec : uint8_t { kPlanes = 1, kDifferences = 2 };

bool IsElementSize(uint32_t bytes) {
  return bytes == 1 || bytes == 2 || bytes == 4 || bytes == kMaxElementBytes;
}

// Calls `f` with a value of the unsigned type of this many bytes.
template <typename F>
void WithElement(uint32_t bytes, F f) {
  switch (bytes) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    default:
      return f(uint64_t{});
  }
}

// ---- Elements ----------------------------------------------------------------

template <typename T>
constexpr T Turn(T bits) {
  return sizeof(T) == 1 ? bits : std::rotl(bits, 1);
}
template <typename T>
constexpr T TurnBack(T bits) {
  return sizeof(T) == 1 ? bits : std::rotr(bits, 1);
}

// Of floats as of sign and magnitude, the negative ones below the others.
template <typename T>
constexpr T Ordered(T bits) {
  constexpr T sign = T{1} << (std::numeric_limits<T>::digits - 1);
  return static_cast<T>((bits & sign) != 0 ? ~bits : bits | sign);
}
template <typename T>
constexpr T Unordered(T bits) {
  constexpr T sign = T{1} << (std::numeric_limits<T>::digits - 1);
  return static_cast<T>((bits & sign) != 0 ? bits ^ sign : ~bits);
}

template <typename T>
constexpr T Difference(T value, T base) {
  if constexpr (sizeof(T) == 1) return static_cast<T>(value ^ base);
  const T difference = static_cast<T>(Ordered(value) - Ordered(base));
  const auto is_negative = static_cast<std::make_signed_t<T>>(difference) < 0;
  return static_cast<T>(static_cast<T>(difference << 1) ^ static_cast<T>(is_negative ? ~T{0} : 0));
}
template <typename T>
constexpr T Sum(T difference, T base) {
  if constexpr (sizeof(T) == 1) return static_cast<T>(difference ^ base);
  const T magnitude =
      static_cast<T>(static_cast<T>(difference >> 1) ^ ((difference & 1) != 0 ? ~T{0} : T{0}));
  return Unordered(static_cast<T>(Ordered(base) + magnitude));
}

// Where the difference of each element of a chunk with this base is written.
template <typename T>
class Places {
 public:
  explicit Places(View base, size_t elements) : base_(base) {
    if constexpr (sizeof(T) == 1) return;
    std::array<uint32_t, 256> counts{};
    for (size_t i = 0; i < elements; ++i) ++counts[Group(Element(i))];
    uint32_t next = 0;
    for (size_t group = 0; group < counts.size(); ++group) {
      next_[group] = next;
      next += counts[group];
    }
  }
  T Element(size_t i) const { return GetAt<T>(base_.data() + i * sizeof(T)); }
  // To be asked once for each element, in order.
  size_t Of(size_t i, T base) { return sizeof(T) == 1 ? i : next_[Group(base)]++; }

 private:
  static uint8_t Group(T base) {
    return static_cast<uint8_t>(Turn(base) >> (std::numeric_limits<T>::digits - 8));
  }
  const View base_;
  std::array<uint32_t, 256> next_{};
};

// Plane 0 holds the highest bytes; each has `elements` bytes.
template <typename T>
void Spread(T bits, std::byte* planes, size_t elements, size_t place) {
  for (size_t plane = 0; plane < sizeof(T); ++plane) {
    planes[plane * elements + place] =
        static_cast<std::byte>(bits >> (8 * (sizeof(T) - 1 - plane)));
  }
}
template <typename T>
T Gather(const std::byte* planes, size_t elements, size_t place) {
  T bits = 0;
  for (size_t plane = 0; plane < sizeof(T); ++plane) {
    bits = static_cast<T>(bits | static_cast<T>(static_cast<T>(planes[plane * elements + place])
                                                << (8 * (sizeof(T) - 1 - plane))));
  }
  return bits;
}

template <typename T>
void ToPlanes(View chunk, std::optional<View> base, std::byte* planes) {
  const size_t elements = chunk.size() / sizeof(T);
  if (!base) {
    for (size_t i = 0; i < elements; ++i) {
      Spread(Turn(GetAt<T>(chunk.data() + i * sizeof(T))), planes, elements, i);
    }
    return;
  }
  Places<T> places(*base, elements);
  for (size_t i = 0; i < elements; ++i) {
    const T of_base = places.Element(i);
    Spread(Difference(GetAt<T>(chunk.data() + i * sizeof(T)), of_base), planes, elements,
           places.Of(i, of_base));
  }
}

template <typename T>
void FromPlanes(const std::byte* planes, std::optional<View> base, std::span<std::byte> chunk) {
  const size_t elements = chunk.size() / sizeof(T);
  if (!base) {
    for (size_t i = 0; i < elements; ++i) {
      PutAt(chunk.data() + i * sizeof(T), TurnBack(Gather<T>(planes, elements, i)));
    }
    return;
  }
  Places<T> places(*base, elements);
  for (size_t i = 0; i < elements; ++i) {
    const T of_base = places.Element(i);
    PutAt(chunk.data() + i * sizeof(T),
          Sum(Gather<T>(planes, elements, places.Of(i, of_base)), of_base));
  }
}

// ---- Encoded bytes -------------------------------------------------------------

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

Bytes Encode(const ckpt::Digest& digest, View chunk, const std::optional<CodecBase>& base,
             const CodecOptions& options) {
  const uint32_t width = options.element_bytes;
  const size_t elements = chunk.size() / width;
  const size_t tail = chunk.size() % width;
  Bytes planes(elements * width);
  WithElement(width, [&](auto element) {
    ToPlanes<decltype(element)>(chunk, base ? std::optional(base->bytes) : std::nullopt,
                                planes.data());
  });

  Bytes out(kEncodedHeaderBytes + width * sizeof(uint32_t) +
            width * ZSTD_compressBound(elements) + tail);
  std::memcpy(out.data(), kMagic, sizeof(kMagic));
  PutAt(out.data() + 4, base ? Codec::kDifferences : Codec::kPlanes);
  PutAt(out.data() + 5, static_cast<uint8_t>(width));
  PutAt(out.data() + 8, static_cast<uint32_t>(chunk.size()));
  PutAt(out.data() + 16, digest.bytes);
  if (base) PutAt(out.data() + 48, base->digest.bytes);
  std::byte* const lengths = out.data() + kEncodedHeaderBytes;
  size_t at = kEncodedHeaderBytes + width * sizeof(uint32_t);
  const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  for (uint32_t plane = 0; plane < width; ++plane) {
    const std::byte* const raw = planes.data() + plane * elements;
    const size_t zstd =
        context == nullptr ? elements
                           : ZSTD_compressCCtx(context.get(), out.data() + at, out.size() - at, raw,
                                               elements, options.level);
    // An error is a length beyond any.
    const bool pays = zstd < elements;
    if (!pays) std::memcpy(out.data() + at, raw, elements);
    const size_t stored = pays ? zstd : elements;
    PutAt(lengths + plane * sizeof(uint32_t), static_cast<uint32_t>(stored) | (pays ? kZstd : 0));
    at += stored;
  }
  std::memcpy(out.data() + at, chunk.data() + elements * width, tail);
  out.resize(at + tail);
  return out;
}

absl::Status NotWhole(std::string_view what) {
  return ckpt::MakeError(absl::StatusCode::kDataLoss, ckpt::reason::kChunkDamaged,
                         fmt::format("the encoded chunk is damaged: {}", what));
}

}  // namespace

std::optional<Bytes> EncodeChunk(const ckpt::Digest& digest, View chunk,
                                 const std::optional<CodecBase>& base,
                                 const CodecOptions& options) {
  if (!IsElementSize(options.element_bytes)) return {};
  if (chunk.size() < options.element_bytes || chunk.size() > ckpt::kMaxChunkBytes) return {};
  Bytes best = Encode(digest, chunk, std::nullopt, options);
  if (base && base->bytes.size() == chunk.size()) {
    Bytes difference = Encode(digest, chunk, base, options);
    if (difference.size() + chunk.size() / 50 < best.size()) best = std::move(difference);
  }
  if (best.size() > chunk.size() - chunk.size() * 3 / 100) return {};
  if (best.size() >= chunk.size()) return {};  // a few bytes: 3 % of them are none
  return best;
}

std::optional<EncodedHeader> DecodeHeader(View encoded) {
  if (encoded.size() < kEncodedHeaderBytes) return {};
  const std::byte* const at = encoded.data();
  if (std::memcmp(at, kMagic, sizeof(kMagic)) != 0) return {};
  const auto codec = GetAt<Codec>(at + 4);
  EncodedHeader header;
  header.element_bytes = GetAt<uint8_t>(at + 5);
  header.length = GetAt<uint32_t>(at + 8);
  header.digest.bytes = GetAt<decltype(header.digest.bytes)>(at + 16);
  ckpt::Digest base;
  base.bytes = GetAt<decltype(base.bytes)>(at + 48);
  if (GetAt<uint16_t>(at + 6) != 0 || GetAt<uint32_t>(at + 12) != 0) return {};
  if (!IsElementSize(header.element_bytes)) return {};
  if (header.length < header.element_bytes || header.length > ckpt::kMaxChunkBytes) return {};
  if (codec == Codec::kDifferences) {
    header.base = base;
  } else if (codec != Codec::kPlanes || base != ckpt::Digest{}) {
    return {};
  }
  return header;
}

absl::Status DecodeChunk(View encoded, View base, std::span<std::byte> out) {
  const std::optional<EncodedHeader> header = DecodeHeader(encoded);
  if (!header) return NotWhole("its header is none");
  if (header->length != out.size()) return NotWhole("it has another length");
  if (base.size() != (header->base ? out.size() : 0)) return NotWhole("it has another base");

  const uint32_t width = header->element_bytes;
  const size_t elements = out.size() / width;
  const size_t tail = out.size() % width;
  const size_t lengths_bytes = width * sizeof(uint32_t);
  View rest = encoded.subspan(kEncodedHeaderBytes);
  if (rest.size() < lengths_bytes) return NotWhole("it ends within its header");
  const View lengths = rest.first(lengths_bytes);
  rest = rest.subspan(lengths_bytes);
  Bytes planes(elements * width);
  for (uint32_t plane = 0; plane < width; ++plane) {
    const auto word = GetAt<uint32_t>(lengths.data() + plane * sizeof(uint32_t));
    const uint32_t stored = word & ~kZstd;
    if (stored > rest.size()) return NotWhole("it ends within a plane");
    std::byte* const raw = planes.data() + plane * elements;
    if ((word & kZstd) != 0) {
      const size_t bytes = ZSTD_decompress(raw, elements, rest.data(), stored);
      if (ZSTD_isError(bytes) != 0 || bytes != elements) return NotWhole("a plane is not zstd's");
    } else {
      if (stored != elements) return NotWhole("a plane has another length");
      std::memcpy(raw, rest.data(), stored);
    }
    rest = rest.subspan(stored);
  }
  if (rest.size() != tail) return NotWhole("there is more, or less, than its planes");
  WithElement(width, [&](auto element) {
    FromPlanes<decltype(element)>(planes.data(),
                                  header->base ? std::optional(base) : std::nullopt, out);
  });
  std::memcpy(out.data() + elements * width, rest.data(), tail);
  return absl::OkStatus();
}

}  // namespace ckptd
