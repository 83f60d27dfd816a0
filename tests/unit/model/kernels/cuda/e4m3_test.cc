#include "model/kernels/cuda/e4m3.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace llava::model {
namespace {

// The positive numbers, in order of their codes, by the definition: 2^(exponent - 7) (1 + m / 8),
// or 2^-6 m / 8 where the exponent is 0.
std::vector<float> Table() {
  std::vector<float> numbers;
  for (int code = 0; code < 0x7f; ++code) {
    const int exponent = code >> 3, mantissa = code & 7;
    numbers.push_back(exponent == 0
                          ? std::ldexp(static_cast<float>(mantissa), -9)
                          : std::ldexp(1.0f + static_cast<float>(mantissa) / 8.0f, exponent - 7));
  }
  return numbers;
}

TEST(E4m3Test, EveryCodeIsTheNumberOfItsDefinition) {
  const std::vector<float> numbers = Table();
  EXPECT_EQ(numbers.back(), kMaxE4m3);
  for (std::uint8_t code = 0; code < 0x7f; ++code) {
    EXPECT_EQ(FromE4m3(code), numbers[code]) << int{code};
    EXPECT_FALSE(std::signbit(FromE4m3(code)));
    const auto negative = static_cast<std::uint8_t>(code | 0x80);
    EXPECT_EQ(FromE4m3(negative), -numbers[code]) << int{code};
    EXPECT_TRUE(std::signbit(FromE4m3(negative)));
    EXPECT_EQ(ToE4m3(numbers[code]), code);
    EXPECT_EQ(ToE4m3(-numbers[code]), negative);
  }
  EXPECT_TRUE(std::isnan(FromE4m3(0x7f)));
  EXPECT_TRUE(std::isnan(FromE4m3(0xff)));
}

TEST(E4m3Test, RoundsToTheNearestAndHalvesToTheEvenCode) {
  const std::vector<float> numbers = Table();
  for (std::uint8_t code = 0; code < 0x7e; ++code) {
    const float low = numbers[code], high = numbers[code + 1];
    const float half = (low + high) / 2;  // exact
    const auto above = static_cast<std::uint8_t>(code + 1);
    const std::uint8_t even = code % 2 == 0 ? code : above;
    for (const int sign : {0x00, 0x80}) {
      const float way = sign == 0 ? 1.0f : -1.0f;
      EXPECT_EQ(ToE4m3(way * half), even | sign) << half;
      EXPECT_EQ(ToE4m3(way * std::nextafter(half, 0.0f)), code | sign) << half;
      EXPECT_EQ(ToE4m3(way * std::nextafter(half, 1e9f)), above | sign) << half;
      EXPECT_EQ(ToE4m3(way * std::nextafter(low, 1e9f)), code | sign) << low;
      EXPECT_EQ(ToE4m3(way * std::nextafter(high, 0.0f)), above | sign) << high;
    }
  }
}

TEST(E4m3Test, WhatIsBeyondSaturatesAndNanStays) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float x : {448.0f, 449.0f, 464.0f, 480.0f, 1e6f, 3e38f, kInfinity}) {
    EXPECT_EQ(ToE4m3(x), 0x7e) << x;
    EXPECT_EQ(ToE4m3(-x), 0xfe) << x;
  }
  EXPECT_EQ(ToE4m3(std::numeric_limits<float>::quiet_NaN()), kE4m3Nan);
  EXPECT_EQ(ToE4m3(-std::numeric_limits<float>::quiet_NaN()), kE4m3Nan);
  EXPECT_EQ(ToE4m3(1e-30f), 0);
  EXPECT_EQ(ToE4m3(-std::numeric_limits<float>::denorm_min()), 0x80);
}

TEST(E4m3Test, AScaleMakesTheLargestTheLargest) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(E4m3Scale(448.0f), 1.0f);
  EXPECT_EQ(E4m3Scale(1.0f), 1.0f / 448.0f);
  EXPECT_EQ(E4m3Scale(0.0f), std::numeric_limits<float>::min());
  EXPECT_EQ(E4m3Scale(1e-44f), std::numeric_limits<float>::min());
  EXPECT_EQ(E4m3Scale(kInfinity), E4m3Scale(std::numeric_limits<float>::max()));
  for (const float largest : {1e-30f, 0.3f, 7.0f, 1e30f, 3.4e38f}) {
    EXPECT_EQ(ToE4m3(largest / E4m3Scale(largest)), 0x7e) << largest;
  }
}

}  // namespace
}  // namespace llava::model
