#include "client/ckptctl/numbers.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace ckpt::ctl {
namespace {

template <typename T>
void Append(std::span<const std::byte> bytes, std::vector<double>& out) {
  for (size_t i = 0; i + sizeof(T) <= bytes.size(); i += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes.data() + i, sizeof(T));
    out.push_back(static_cast<double>(value));
  }
}

// A float of `exponent_bits` and `mantissa_bits` below its sign. With
// `infinities` the highest exponent is infinity and NaN, else (E4M3) only the
// very highest pattern is NaN.
double SmallFloat(uint32_t bits, int exponent_bits, int mantissa_bits, bool infinities) {
  const uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
  const uint32_t highest = (1u << exponent_bits) - 1;
  const uint32_t exponent = (bits >> mantissa_bits) & highest;
  const bool negative = ((bits >> (exponent_bits + mantissa_bits)) & 1) != 0;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  double value;
  if (infinities && exponent == highest) {
    value = mantissa == 0 ? std::numeric_limits<double>::infinity()
                          : std::numeric_limits<double>::quiet_NaN();
  } else if (!infinities && exponent == highest && mantissa == (1u << mantissa_bits) - 1) {
    value = std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    value = std::ldexp(mantissa, 1 - bias - mantissa_bits);
  } else {
    value = std::ldexp(mantissa + (1u << mantissa_bits),
                       static_cast<int>(exponent) - bias - mantissa_bits);
  }
  return negative ? -value : value;
}

template <typename Bits>
void AppendSmall(std::span<const std::byte> bytes, int exponent_bits, int mantissa_bits,
                 bool infinities, std::vector<double>& out) {
  for (size_t i = 0; i + sizeof(Bits) <= bytes.size(); i += sizeof(Bits)) {
    Bits bits;
    std::memcpy(&bits, bytes.data() + i, sizeof(Bits));
    out.push_back(SmallFloat(bits, exponent_bits, mantissa_bits, infinities));
  }
}

}  // namespace

void AppendNumbers(DType dtype, std::span<const std::byte> bytes, std::vector<double>& out) {
  switch (dtype) {
    case DType::kNone:
      return;
    case DType::kF64:
    case DType::kC128:
      return Append<double>(bytes, out);
    case DType::kF32:
    case DType::kC64:
      return Append<float>(bytes, out);
    case DType::kF16:
      return AppendSmall<uint16_t>(bytes, 5, 10, true, out);
    case DType::kBF16:
      return AppendSmall<uint16_t>(bytes, 8, 7, true, out);
    case DType::kF8E4M3:
      return AppendSmall<uint8_t>(bytes, 4, 3, false, out);
    case DType::kF8E5M2:
      return AppendSmall<uint8_t>(bytes, 5, 2, true, out);
    case DType::kI64:
      return Append<int64_t>(bytes, out);
    case DType::kI32:
      return Append<int32_t>(bytes, out);
    case DType::kI16:
      return Append<int16_t>(bytes, out);
    case DType::kI8:
      return Append<int8_t>(bytes, out);
    case DType::kU64:
      return Append<uint64_t>(bytes, out);
    case DType::kU32:
      return Append<uint32_t>(bytes, out);
    case DType::kU16:
      return Append<uint16_t>(bytes, out);
    case DType::kU8:
    case DType::kBool:
      return Append<uint8_t>(bytes, out);
  }
}

void Distance::Add(std::span<const double> before, std::span<const double> after) {
  for (size_t i = 0; i < before.size() && i < after.size(); ++i) {
    ++elements_;
    before_ += before[i] * before[i];
    // Equal infinities did not move, and NaN that stays NaN neither.
    if (before[i] == after[i] || (std::isnan(before[i]) && std::isnan(after[i]))) continue;
    ++changed_;
    const double moved = std::abs(after[i] - before[i]);
    difference_ += moved * moved;
    if (std::isnan(moved) || moved > max_abs_) max_abs_ = moved;
  }
}

double Distance::l2() const { return std::sqrt(difference_); }

double Distance::relative() const {
  if (difference_ == 0) return 0;
  return std::sqrt(difference_ / before_);
}

}  // namespace ckpt::ctl
