// An encoded chunk: any bytes at all, and what EncodeChunk made, with some changed.
#include <vector>

#include "daemon/chunks/codec.h"
#include "proto/limits.h"
#include "tests/fuzz/fuzz.h"

namespace {

constexpr uint32_t kMostBytes = 1 << 16;  // larger ones take the same ways

void Decode(std::span<const std::byte> encoded, std::span<const std::byte> base) {
  const auto header = ckptd::DecodeHeader(encoded);
  if (!header || header->length > kMostBytes) return;
  std::vector<std::byte> out(header->length);
  (void)ckptd::DecodeChunk(encoded, header->base ? base : std::span<const std::byte>(), out);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput input(data, size);
  const auto kind = input.Take<uint8_t>();
  if (kind % 2 == 0) {
    const auto base = input.TakeBytes(input.Take<uint16_t>());
    const std::string_view rest = input.TakeRest();
    Decode(std::as_bytes(std::span(rest)), base);
    return 0;
  }
  const uint32_t element = 1u << (kind / 2 % 4);
  const auto patches = input.Take<uint8_t>() % 8;
  const uint64_t where = input.Take<uint64_t>();
  const auto half = input.TakeBytes(input.Take<uint16_t>());
  const std::string_view rest = input.TakeRest();
  const auto chunk = std::as_bytes(std::span(rest));
  if (chunk.empty() || chunk.size() > kMostBytes) return 0;
  const ckpt::Digest digest = ckpt::HashBytes(chunk.data(), chunk.size());
  std::optional<ckptd::CodecBase> base;
  if (half.size() == chunk.size()) {
    base = ckptd::CodecBase{ckpt::HashBytes(half.data(), half.size()), half};
  }
  auto encoded = ckptd::EncodeChunk(digest, chunk, base, {.element_bytes = element});
  if (!encoded) return 0;
  std::vector<std::byte> out(chunk.size());
  const auto header = ckptd::DecodeHeader(*encoded);
  MUST(header && header->length == chunk.size() && header->digest == digest);
  MUST(ckptd::DecodeChunk(*encoded, header->base ? half : std::span<const std::byte>(), out).ok());
  MUST(std::memcmp(out.data(), chunk.data(), out.size()) == 0);
  for (int i = 0; i < patches; ++i) {
    (*encoded)[(where >> (i * 8)) % encoded->size()] ^= std::byte{static_cast<uint8_t>(1 << i)};
  }
  Decode(*encoded, half);
  return 0;
}
