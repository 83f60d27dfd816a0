// 4-bit weights: codes of -8 to 7, and for each group of kChunk neighbouring k of a column one fp32
// scale (quantize.h). Rows of x are codes of -127 to 127 with an fp32 scale for each group: what
// they are off by is a twentieth of what the weights are. Bytes are multiplied as they are, twice
// as many at a time as 16-bit numbers. Sums of a group are exact integers, so only the sum over
// groups, an fp32 chain in the order of k, rounds.
//
// A panel is, group after group, [n] scales and [k / 8][n] words of eight codes + 8: that of k in
// the low half of byte k, that of k + 4 in the high half. A tile is, group after group, [n] scales,
// [n] int32 -8 times the sum of the codes, which takes that 8 away again, and [k / 4][n][4] codes.
// Both end with zeros to a multiple of 8; those of x are what counts.
// A row of x with an infinity or NaN in a group gives NaN.
#ifndef LLAVA_MODEL_KERNELS_CPU_INT4_FORMAT_H_
#define LLAVA_MODEL_KERNELS_CPU_INT4_FORMAT_H_

#include "model/kernels/cpu/gemm_kernel.h"
#include "model/kernels/cpu/quantize.h"
#include "model/kernels/cpu/simd.h"

namespace llava::model::LLAVA_ISA {

struct Int4Format {
  static constexpr std::int64_t kChunk = kInt4Group;
  static constexpr std::int64_t kRowWords = 2 + kChunk / 4;
  static constexpr std::int64_t kColumnWords = 1 + kChunk / 8;
  static constexpr bool kQuantized = true;

  static std::int64_t RowWords(std::int64_t in) {
    return (in + kChunk - 1) / kChunk * 2 + (in + 7) / 8 * 2;
  }
  static std::int64_t ColumnWords(std::int64_t in) {
    return (in + kChunk - 1) / kChunk + (in + 7) / 8;
  }

  static void PackRow(const float* x, std::int64_t steps, std::int64_t width, std::uint32_t* to) {
    std::int32_t bits = 0;  // of the largest magnitude: floats are ordered as their bits are
    for (std::int64_t i = 0; i < steps; ++i) {
      const std::int32_t size = __builtin_bit_cast(std::int32_t, x[i]) & 0x7FFFFFFF;
      bits = bits > size ? bits : size;
    }
    const float top = __builtin_bit_cast(float, bits);
    const bool finite = bits < 0x7F800000;
    // Numbers whose reciprocal is no normal float count as zeros.
    constexpr float kSmallest = 1e-36f, kRounder = 12582912.0f;
    const float factor = finite && top > kSmallest ? 127.0f / top : 0.0f;
    alignas(4) std::int8_t codes[kChunk] = {};
    std::int32_t sum = 0;
    for (std::int64_t i = 0; finite && i < steps; ++i) {
      const float shifted = x[i] * factor + kRounder;  // rounds to an integer, in the low bits
      const std::int32_t n =
          __builtin_bit_cast(std::int32_t, shifted) - __builtin_bit_cast(std::int32_t, kRounder);
      codes[i] = static_cast<std::int8_t>(n);
      sum += n;
    }
    to[0] = finite ? __builtin_bit_cast(std::uint32_t, top / 127.0f) : 0x7FC00000u;
    to[width] = static_cast<std::uint32_t>(-8 * sum);
    const auto* quads = reinterpret_cast<const Word*>(codes);
    for (std::int64_t i = 0; i < (steps + 7) / 8 * 2; ++i) to[(2 + i) * width] = quads[i].bits;
  }

  static void PackColumn(const std::int8_t* codes, float scale, std::int64_t steps,
                         std::int64_t width, std::uint32_t* to) {
    to[0] = __builtin_bit_cast(std::uint32_t, scale);
    for (std::int64_t i = 0; i < (steps + 7) / 8; ++i) {
      std::uint32_t word = 0;
      for (std::int64_t j = 0; j < 8 && i * 8 + j < steps; ++j) {
        word |= static_cast<std::uint32_t>(codes[i * 8 + j] + 8) << (8 * (j % 4) + j / 4 * 4);
      }
      to[(1 + i) * width] = word;
    }
  }

  template <int kRows, int kPanels, bool kFromMemory>
  static void AddChunk(const std::uint32_t* x, const std::uint32_t* w, std::int64_t panel_words,
                       std::int64_t steps, float* sums, std::int64_t stride) {
    constexpr int kVectors = kPanels * 2;
    const std::uint32_t* const x_scales = x;
    const std::uint32_t* const w_scales = w;
    VecInt sum[kRows][kVectors];
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[r][v] = BroadcastInt(x + kRows + r);
    }
    x += 2 * kRows;
    constexpr std::int64_t kPart = kByteProducts * 4;
    for (std::int64_t part = 0; part < steps; part += kPart) {
      VecInt chain[kRows][kVectors] = {};
      const std::int64_t end = SmallerOf(steps, part + kPart);
      for (std::int64_t k = part; k < end; k += 8, x += 2 * kRows) {
        w += kPanel;
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          VecInt weights[kVectors];
#pragma GCC unroll 8
          for (int v = 0; v < kVectors; ++v) {
            const std::uint32_t* from = w + v / 2 * panel_words + v % 2 * kLanes;
            if (kFromMemory && v % 2 == 0 && half == 0) __builtin_prefetch(from + kPrefetchWords);
            weights[v] = LoadInts(from) >> (half * 4) & 0x0F0F0F0F;
          }
#pragma GCC unroll 12
          for (int r = 0; r < kRows; ++r) {
            const VecInt row = BroadcastInt(x + half * kRows + r);
#pragma GCC unroll 8
            for (int v = 0; v < kVectors; ++v) {
              chain[r][v] = AddByteProducts(chain[r][v], weights[v], row);
              Settle(chain[r][v]);
            }
          }
        }
      }
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sum[r][v] += EndByteProducts(chain[r][v]);
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

#endif  // LLAVA_MODEL_KERNELS_CPU_INT4_FORMAT_H_
