// 16-bit weights, held and multiplied as block floating point: the numbers of a row or column that
// stand at kChunk neighbouring k share a power of two, and each is an integer of 12 bits and a sign
// times that. A bf16 weight of at least a sixteenth of the largest in its block is exact; any other
// number is off by at most 2^-12 of its block's largest, where bf16 products round the number
// itself to 2^-9. Sums of a block are exact in 32 bits (128 * 4095 * 4095 < 2^31), so only the sum
// over blocks, an fp32 chain in the order of k, rounds. Reference: Wilkinson, Rounding Errors in
// Algebraic Processes (1963), chapter 1, block-floating vectors.
//
// A strip of n columns or rows is, block after block, [n] fp32 scales and [k / 2][n][2] int16.
// A row of x with an infinity or NaN in a block gives NaN.
#ifndef LLAVA_MODEL_KERNELS_CPU_BLOCK_FLOAT_FORMAT_H_
#define LLAVA_MODEL_KERNELS_CPU_BLOCK_FLOAT_FORMAT_H_

#include "model/kernels/cpu/gemm_kernel.h"
#include "model/kernels/cpu/simd.h"

namespace llava::model::LLAVA_ISA {

// Writes `steps` numbers as integers of kBits bits and a sign, at most 15, times a power of two,
// whose bits as a float it returns: NaN when a number is not finite. The largest of them becomes
// 2^(kBits - 1) or more. Rounds to nearest, the largest down.
template <int kBits>
std::uint32_t RoundToBlock(const float* x, std::int64_t steps, std::int16_t* rounded) {
  constexpr std::int32_t kLargest = (1 << kBits) - 1;
  std::int32_t top = 0;  // bits of the largest magnitude: floats are ordered as their bits are
  for (std::int64_t i = 0; i < steps; ++i) {
    const std::int32_t size = __builtin_bit_cast(std::int32_t, x[i]) & 0x7FFFFFFF;
    top = top > size ? top : size;
  }
  // Biased exponents: that of infinity and NaN, and the smallest whose scale is a normal float.
  constexpr std::int32_t kNotFinite = 0xFF, kSmallest = kBits;
  const std::int32_t exponent = top >> 23 > kSmallest ? top >> 23 : kSmallest;
  // Adding 1.5 * 2^23 rounds to an integer, in the low bits.
  const float factor = __builtin_bit_cast(float, (253 + kBits - exponent) << 23);
  constexpr float kRounder = 12582912.0f;
  for (std::int64_t i = 0; i < steps; ++i) {
    const float shifted = x[i] * factor + kRounder;
    const std::int32_t n =
        __builtin_bit_cast(std::int32_t, shifted) - __builtin_bit_cast(std::int32_t, kRounder);
    rounded[i] = static_cast<std::int16_t>(n > kLargest ? kLargest : n < -kLargest ? -kLargest : n);
  }
  return exponent < kNotFinite ? static_cast<std::uint32_t>(exponent + 1 - kBits) << 23
                               : 0x7FC00000u;
}

struct BlockFloatFormat {
  // The longest block whose sums are exact in 32 bits, see above.
  static constexpr std::int64_t kChunk = 128;
  static constexpr std::int64_t kRowWords = 1 + kChunk / 2;
  static constexpr std::int64_t kColumnWords = kRowWords;
  static constexpr bool kQuantized = false;

  static std::int64_t RowWords(std::int64_t in) {
    return (in + kChunk - 1) / kChunk + (in + 1) / 2;
  }
  static std::int64_t ColumnWords(std::int64_t in) { return RowWords(in); }

  static void PackRow(const float* x, std::int64_t steps, std::int64_t width, std::uint32_t* to) {
    std::int16_t rounded[kChunk] = {};
    to[0] = RoundToBlock<12>(x, steps, rounded);
    const auto* pairs = reinterpret_cast<const Word*>(rounded);
    for (std::int64_t i = 0; i < (steps + 1) / 2; ++i) to[(1 + i) * width] = pairs[i].bits;
  }
  static void PackColumn(const float* w, std::int64_t steps, std::int64_t width,
                         std::uint32_t* to) {
    PackRow(w, steps, width, to);
  }

  template <int kRows, int kPanels, bool kFromMemory>
  static void AddChunk(const std::uint32_t* x, const std::uint32_t* w, std::int64_t panel_words,
                       std::int64_t steps, float* sums, std::int64_t stride) {
    constexpr int kVectors = kPanels * 2;
    const std::uint32_t* const x_scales = x;
    const std::uint32_t* const w_scales = w;
    VecInt sum[kRows][kVectors] = {};
    for (std::int64_t k = 0; k < steps; k += 2) {
      x += kRows;
      w += kPanel;
      VecInt weights[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const std::uint32_t* from = w + v / 2 * panel_words + v % 2 * kLanes;
        if (kFromMemory && v % 2 == 0) __builtin_prefetch(from + kPrefetchWords);
        weights[v] = LoadInts(from);
      }
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const VecInt row = BroadcastInt(x + r);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sum[r][v] = AddPairProducts(sum[r][v], row, weights[v]);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const Vec scale = BroadcastFloat(x_scales + r) *
                          LoadFloats(w_scales + v / 2 * panel_words + v % 2 * kLanes);
        float* total = sums + r * stride + v * kLanes;
        Store(total, MulAdd(ToFloats(sum[r][v]), scale, Load(total)));
      }
    }
  }
};

}  // namespace llava::model::LLAVA_ISA

#endif  // LLAVA_MODEL_KERNELS_CPU_BLOCK_FLOAT_FORMAT_H_
