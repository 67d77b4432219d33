#include "client/ckptctl/numbers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ckpt::ctl {
namespace {

using ::testing::ElementsAre;

constexpr double kInf = std::numeric_limits<double>::infinity();

template <typename T>
std::vector<double> Numbers(DType dtype, std::vector<T> values) {
  std::vector<double> out;
  AppendNumbers(dtype, std::as_bytes(std::span(values)), out);
  return out;
}

TEST(AppendNumbers, ReadsEveryDType) {
  EXPECT_THAT(Numbers<double>(DType::kF64, {1.5, -2}), ElementsAre(1.5, -2));
  EXPECT_THAT(Numbers<float>(DType::kC64, {1, 2}), ElementsAre(1, 2));
  EXPECT_THAT(Numbers<uint16_t>(DType::kF16, {0x3c00, 0xc000, 0x7c00, 0x0001}),
              ElementsAre(1, -2, kInf, std::ldexp(1, -24)));
  EXPECT_THAT(Numbers<uint16_t>(DType::kBF16, {0x3f80, 0xff80}), ElementsAre(1, -kInf));
  EXPECT_THAT(Numbers<uint8_t>(DType::kF8E4M3, {0x38, 0x7e, 0xb8}), ElementsAre(1, 448, -1));
  EXPECT_THAT(Numbers<uint8_t>(DType::kF8E5M2, {0x3c, 0x7c}), ElementsAre(1, kInf));
  EXPECT_THAT(Numbers<int64_t>(DType::kI64, {-3}), ElementsAre(-3));
  EXPECT_THAT(Numbers<int8_t>(DType::kI8, {-128}), ElementsAre(-128));
  EXPECT_THAT(Numbers<uint8_t>(DType::kBool, {0, 1}), ElementsAre(0, 1));
  EXPECT_TRUE(Numbers<uint8_t>(DType::kNone, {1}).empty());
  EXPECT_TRUE(std::isnan(Numbers<uint8_t>(DType::kF8E4M3, {0x7f})[0]));
  EXPECT_TRUE(std::isnan(Numbers<uint16_t>(DType::kF16, {0x7e00})[0]));
}

Distance Between(std::vector<double> before, std::vector<double> after) {
  Distance distance;
  distance.Add(before, after);
  return distance;
}

TEST(Distance, MeasuresHowFarATensorMoved) {
  const Distance distance = Between({3, 4, 0}, {3, 1, 4});
  EXPECT_EQ(distance.elements(), 3u);
  EXPECT_EQ(distance.changed(), 2u);
  EXPECT_EQ(distance.max_abs(), 4);
  EXPECT_EQ(distance.l2(), 5);
  EXPECT_EQ(distance.relative(), 1);
}

TEST(Distance, WhatIsNoNumberMovesOnlyWhenItChanges) {
  EXPECT_EQ(Between({kInf, NAN}, {kInf, NAN}).changed(), 0u);
  EXPECT_EQ(Between({kInf, NAN}, {kInf, NAN}).relative(), 0);
  EXPECT_TRUE(std::isnan(Between({1, 2}, {NAN, 3}).max_abs()));
  EXPECT_EQ(Between({0}, {1}).relative(), kInf);
}

}  // namespace
}  // namespace ckpt::ctl
