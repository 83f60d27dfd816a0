#include "model/kernels/cpu/quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "gtest/gtest.h"
#include "model/kernels/cpu/dispatch.h"

namespace llava::model {
namespace {

std::vector<float> Normal(std::size_t count, float size = 1) {
  Rng generator(5);
  std::vector<float> numbers(count);
  for (float& v : numbers) v = size * static_cast<float>(generator.Normal());
  return numbers;
}

struct Codes {
  std::vector<std::int8_t> codes;
  std::vector<float> scales;
  std::vector<float> numbers;  // what they stand for
};

Codes Quantized(WeightFormat format, const std::vector<float>& numbers) {
  const auto group = static_cast<std::size_t>(GroupOf(format));
  Codes result{std::vector<std::int8_t>(numbers.size()),
               std::vector<float>((numbers.size() + group - 1) / group),
               std::vector<float>(numbers.size())};
  Quantize(format, numbers, result.codes.data(), result.scales.data());
  Dequantize(format, result.codes, result.scales.data(), result.numbers.data());
  return result;
}

double SquaredError(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(double{a[i]} - b[i], 2);
  return sum;
}

// Rounding with the scale that makes the largest number the largest code.
double PlainError(const std::vector<float>& numbers, std::size_t group, float most) {
  std::vector<float> rounded(numbers.size());
  for (std::size_t k = 0; k < numbers.size(); k += group) {
    const std::size_t end = std::min(numbers.size(), k + group);
    float top = 0;
    for (std::size_t i = k; i < end; ++i) top = std::max(top, std::abs(numbers[i]));
    for (std::size_t i = k; i < end; ++i) {
      rounded[i] = std::nearbyint(numbers[i] / top * most) * top / most;
    }
  }
  return SquaredError(numbers, rounded);
}

TEST(Quantize, IsCloserThanPlainRounding) {
  const std::vector<float> numbers = Normal(64 * 100);
  const double int4 = SquaredError(numbers, Quantized(WeightFormat::kInt4, numbers).numbers);
  EXPECT_LT(int4, 0.85 * PlainError(numbers, 64, 7));
  const double int8 = SquaredError(numbers, Quantized(WeightFormat::kInt8, numbers).numbers);
  EXPECT_LT(int8, PlainError(numbers, 128, 127));
  EXPECT_LT(std::sqrt(int8 / 6400), 0.0075);
  EXPECT_LT(std::sqrt(int4 / 6400), 0.1);
}

TEST(Quantize, TakesNumbersThatAreCodesExactly) {
  std::vector<float> numbers;
  for (int i = 0; i < 256; ++i) numbers.push_back(static_cast<float>(i % 16 - 8) * 0.25f);
  EXPECT_EQ(Quantized(WeightFormat::kInt4, numbers).numbers, numbers);
  for (int i = 0; i < 256; ++i) numbers[i] = static_cast<float>(i % 255 - 127) * 0.5f;
  EXPECT_EQ(Quantized(WeightFormat::kInt8, numbers).numbers, numbers);
}

TEST(Quantize, TakesAnyLengthAndSize) {
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    for (const std::size_t count : {1, 2, 63, 64, 65, 129, 300}) {
      for (const float size : {1e-25f, 1.0f, 1e30f}) {
        const std::vector<float> numbers = Normal(count, size);
        double all = 0;
        for (const float v : numbers) all += double{v} * v;
        const double error = SquaredError(numbers, Quantized(format, numbers).numbers);
        EXPECT_LT(std::sqrt(error / all), 0.15) << count << " of " << size;
      }
    }
  }
}

// A weight that is not finite is refused where it is read; here it must only do no harm.
TEST(Quantize, ZerosAndWhatIsNotFiniteAreZeros) {
  const std::vector<float> zeros(100, 0.0f);
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    EXPECT_EQ(Quantized(format, zeros).numbers, zeros);
    std::vector<float> bad(100, 1.0f);
    bad[3] = std::numeric_limits<float>::infinity();
    for (const float v : Quantized(format, bad).numbers) EXPECT_TRUE(std::isfinite(v));
  }
}

}  // namespace
}  // namespace llava::model
