// What the fuzz targets share. Each target is a file with one function, as
// libFuzzer wants it; replay.cc runs the same functions over the corpus where
// there is no libFuzzer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

// A property that every input has to keep. Not assert: it holds in every build.
#define MUST(condition)                                                       \
  do {                                                                        \
    if (!(condition)) {                                                       \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                           \
    }                                                                         \
  } while (false)

// Takes an input apart, from its front; zeros once it is used up.
class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : rest_(data, size) {}

  bool empty() const { return rest_.empty(); }
  template <typename T>
  T Take() {
    T value{};
    const size_t size = std::min(sizeof(T), rest_.size());
    std::memcpy(&value, rest_.data(), size);
    rest_ = rest_.subspan(size);
    return value;
  }
  std::span<const std::byte> TakeBytes(size_t most) {
    const auto bytes = std::as_bytes(rest_.first(std::min(most, rest_.size())));
    rest_ = rest_.subspan(bytes.size());
    return bytes;
  }
  std::string_view TakeText(size_t most) {
    const auto bytes = TakeBytes(most);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::string_view TakeRest() { return TakeText(rest_.size()); }

 private:
  std::span<const uint8_t> rest_;
};
