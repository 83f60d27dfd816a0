#include "model/kernels/cpu/quantize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/check.h"
#include "model/kernels/cpu/dispatch.h"

namespace llava::model {
namespace {

// Sums go over kLanes numbers at a time, a fixed order that every compiler's vectors have.
constexpr std::size_t kLanes = 16;
constexpr std::size_t kLongestGroup = 128;
using Lanes = std::array<float, kLanes>;

float Sum(Lanes lanes) {
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

// The codes that a factor gives, and what decides on them: with numbers v and codes q the best
// scale is sum(v q) / sum(q q), which takes sum(v q)^2 / sum(q q) off the squared error.
struct Fit {
  float products = 0;  // sum(v q)
  float squares = 0;   // sum(q q)

  float Gain() const { return squares > 0 ? products / squares * products : 0; }
};

struct Range {
  float least, most;
};

// One group, padded with zeros to a multiple of kLanes, divided by its largest magnitude.
class Group {
 public:
  Group(std::span<const float> numbers, float top)
      : size_((numbers.size() + kLanes - 1) / kLanes * kLanes) {
    for (std::size_t i = 0; i < numbers.size(); ++i) v_[i] = numbers[i] / top;
  }

  Fit Try(float factor, Range range) const {
    constexpr float kRounder = 12582912.0f;  // adding it rounds to an integer
    Lanes products = {}, squares = {};
    for (std::size_t i = 0; i < size_; i += kLanes) {
      for (std::size_t j = 0; j < kLanes; ++j) {
        const float q = v_[i + j] * factor + kRounder - kRounder;
        const float code = std::min(std::max(q, range.least), range.most);
        products[j] += v_[i + j] * code;
        squares[j] += code * code;
      }
    }
    return {Sum(products), Sum(squares)};
  }

  void Write(float factor, Range range, std::span<std::int8_t> codes) const {
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const float q = std::nearbyint(v_[i] * factor);
      codes[i] = static_cast<std::int8_t>(std::min(std::max(q, range.least), range.most));
    }
  }

 private:
  std::size_t size_;
  alignas(64) std::array<float, kLongestGroup> v_ = {};
};

// The largest becomes code `reach`, or with a smaller reach less of the range is used, with a
// larger one the largest is cut off.
float QuantizeGroup(std::span<const float> numbers, Range range, std::span<const float> reaches,
                    std::span<std::int8_t> codes) {
  float top = 0;
  for (const float v : numbers) top = std::max(top, std::abs(v));
  if (!(top >= 1e-30f) || !std::isfinite(top)) {
    std::fill(codes.begin(), codes.end(), std::int8_t{0});
    return 0;
  }
  const Group group(numbers, top);
  float best_factor = 0;
  Fit best;
  for (const float reach : reaches) {
    const Fit fit = group.Try(reach, range);
    if (fit.Gain() <= best.Gain()) continue;
    best = fit;
    best_factor = reach;
  }
  group.Write(best_factor, range, codes);
  return best.products / best.squares * top;
}

// 8 bits: a little beyond the end, where one number that is cut off pays for all others.
constexpr float kInt8Reaches[] = {127, 129, 131};
// 4 bits have one code more below zero, for whichever side has the largest number. Steps of an
// eighth are finer than what the error notices.
constexpr float kInt4Reaches[] = {-8, 8,   -7.5f, 7.5f, -8.5f, 8.5f,  -7,   7,     -9,
                                  9,  -10, 10,    -11,  11,    -9.5f, 9.5f, -6.5f, 6.5f};

}  // namespace

std::int64_t GroupOf(WeightFormat format) {
  switch (format) {
    case WeightFormat::kInt8:
      return kInt8Group;
    case WeightFormat::kInt4:
      return kInt4Group;
    default:
      return 0;
  }
}

CodeRange RangeOf(WeightFormat format) {
  LLAVA_CHECK(GroupOf(format) > 0);
  return format == WeightFormat::kInt8 ? CodeRange{-127, 127} : CodeRange{-8, 7};
}

void Quantize(WeightFormat format, std::span<const float> numbers, std::int8_t* codes,
              float* scales) {
  const auto length = static_cast<std::size_t>(GroupOf(format));
  LLAVA_CHECK(length > 0);
  const bool int8 = format == WeightFormat::kInt8;
  const CodeRange codes_of = RangeOf(format);
  const Range range = {static_cast<float>(codes_of.least), static_cast<float>(codes_of.most)};
  const std::span<const float> reaches =
      int8 ? std::span<const float>(kInt8Reaches) : std::span<const float>(kInt4Reaches);
  for (std::size_t k = 0; k < numbers.size(); k += length, ++scales) {
    const std::size_t count = std::min(length, numbers.size() - k);
    *scales = QuantizeGroup(numbers.subspan(k, count), range, reaches, {codes + k, count});
  }
}

void Dequantize(WeightFormat format, std::span<const std::int8_t> codes, const float* scales,
                float* numbers) {
  const auto length = static_cast<std::size_t>(GroupOf(format));
  LLAVA_CHECK(length > 0);
  for (std::size_t k = 0; k < codes.size(); ++k) {
    numbers[k] = static_cast<float>(codes[k]) * scales[k / length];
  }
}

}  // namespace llava::model
