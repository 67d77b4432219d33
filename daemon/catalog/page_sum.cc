#include "daemon/catalog/page_sum.h"

#include <cstring>

#include "proto/digest.h"

namespace ckptd::catalog {
namespace {

// Odd, so that different page numbers give different words.
constexpr uint64_t kSpread = 0x9e3779b97f4a7c15;

}  // namespace

uint64_t SumOf(std::span<const std::byte> bytes) {
  const ckpt::Digest digest = ckpt::HashBytes(bytes.data(), bytes.size());
  uint64_t sum = 0;
  std::memcpy(&sum, digest.bytes.data(), sizeof(sum));
  return sum;
}

uint64_t PageSum(std::span<const std::byte> page, uint64_t number) {
  return SumOf(page.first(page.size() - kPageSumBytes)) ^ (number * kSpread);
}

bool HasGoodSum(std::span<const std::byte> page, uint64_t number) {
  uint64_t stored = 0;
  std::memcpy(&stored, page.last(kPageSumBytes).data(), kPageSumBytes);
  return stored == PageSum(page, number);
}

void SetPageSum(std::span<std::byte> page, uint64_t number) {
  const uint64_t sum = PageSum(page, number);
  std::memcpy(page.last(kPageSumBytes).data(), &sum, kPageSumBytes);
}

}  // namespace ckptd::catalog
