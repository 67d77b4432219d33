// Numbers as they lie in our files, wherever they lie there.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>

namespace ckptd::os {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

template <typename T>
void PutAt(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof(value));
}

template <typename T>
T GetAt(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

}  // namespace ckptd::os
