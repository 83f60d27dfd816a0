// From numbers to codes of few bits and back. The same bits on every processor, so that what is
// stored and what is quantised while loading are alike.
#ifndef LLAVA_MODEL_KERNELS_CPU_QUANTIZE_H_
#define LLAVA_MODEL_KERNELS_CPU_QUANTIZE_H_

#include <cstdint>
#include <span>

namespace llava::model {

enum class WeightFormat;

// Neighbouring numbers of a column that share a scale; the last group may be shorter.
inline constexpr std::int64_t kInt8Group = 128;
inline constexpr std::int64_t kInt4Group = 64;

// The group of a format of codes; 0 for the others.
std::int64_t GroupOf(WeightFormat format);

// The codes of a format of codes: -127 to 127 of kInt8, -8 to 7 of kInt4.
struct CodeRange {
  int least = 0;
  int most = 0;
};
CodeRange RangeOf(WeightFormat format);

// Writes codes [numbers] and scales [groups]: numbers[i] is about codes[i] * its group's scale. Of
// some candidates the scale is the one with the least sum of squared errors, each made the best for
// its codes. REQUIRES: a format of codes.
void Quantize(WeightFormat format, std::span<const float> numbers, std::int8_t* codes,
              float* scales);

// The inverse: numbers[i] = codes[i] * scale.
void Dequantize(WeightFormat format, std::span<const std::int8_t> codes, const float* scales,
                float* numbers);

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CPU_QUANTIZE_H_
