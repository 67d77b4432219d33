// A tensor's elements as numbers, whatever its dtype.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "proto/model.h"

namespace ckpt::ctl {

// Appends the elements of `bytes` (whole elements of `dtype`) to `out`; a
// complex one is two numbers. Nothing for opaque bytes.
void AppendNumbers(DType dtype, std::span<const std::byte> bytes, std::vector<double>& out);

// How far a tensor moved, fed piece by piece.
class Distance {
 public:
  void Add(std::span<const double> before, std::span<const double> after);

  uint64_t elements() const { return elements_; }
  uint64_t changed() const { return changed_; }
  double max_abs() const { return max_abs_; }  // NaN once a difference is NaN
  double l2() const;
  // |after - before| / |before|: infinite from nothing to something.
  double relative() const;

 private:
  uint64_t elements_ = 0, changed_ = 0;
  double max_abs_ = 0, difference_ = 0, before_ = 0;  // sums of squares
};

}  // namespace ckpt::ctl
