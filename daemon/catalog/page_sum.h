// The checksum of a page of the catalog, kept in the bytes that SQLite reserves
// at the page's end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ckptd::catalog {

inline constexpr int kPageSumBytes = 8;

// Of a page without its last kPageSumBytes, and of where it belongs: a page
// that lies elsewhere in the file has another. `number` counts from 1.
uint64_t PageSum(std::span<const std::byte> page, uint64_t number);
bool HasGoodSum(std::span<const std::byte> page, uint64_t number);
// Writes it into the page's last bytes.
void SetPageSum(std::span<std::byte> page, uint64_t number);

// Of any bytes.
uint64_t SumOf(std::span<const std::byte> bytes);

}  // namespace ckptd::catalog
