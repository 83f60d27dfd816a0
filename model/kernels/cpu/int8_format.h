// 8-bit weights: codes of -127 to 127, and for each group of kChunk neighbouring k of a column one
// fp32 scale (quantize.h). Rows of x are block floating point of 15 bits and a sign, so that what a
// product is off by is what the weights are off by. Sums of a group are exact in 32 bits (128 * 127
// * 32767 < 2^31), so only the sum over groups, an fp32 chain in the order of k, rounds.
//
// A panel is, group after group, [n] scales and [k / 4][n][4] codes. A tile is, group after group,
// [n] scales and [k / 4][n] quads of int16 in the order 0, 2, 1, 3: the codes 0 and 2 of a word are
// widened together. Both end with zeros to a multiple of 4.
// A row of x with an infinity or NaN in a group gives NaN.
#ifndef LLAVA_MODEL_KERNELS_CPU_INT8_FORMAT_H_
#define LLAVA_MODEL_KERNELS_CPU_INT8_FORMAT_H_

#include "model/kernels/cpu/block_float_format.h"
#include "model/kernels/cpu/gemm_kernel.h"
#include "model/kernels/cpu/quantize.h"
#include "model/kernels/cpu/simd.h"

namespace llava::model::LLAVA_ISA {

struct Int8Format {
  static constexpr std::int64_t kChunk = kInt8Group;
  static constexpr std::int64_t kRowWords = 1 + kChunk / 2;
  static constexpr std::int64_t kColumnWords = 1 + kChunk / 4;
  static constexpr bool kQuantized = true;

  static std::int64_t RowWords(std::int64_t in) {
    return (in + kChunk - 1) / kChunk + (in + 3) / 4 * 2;
  }
  static std::int64_t ColumnWords(std::int64_t in) {
    return (in + kChunk - 1) / kChunk + (in + 3) / 4;
  }

  static void PackRow(const float* x, std::int64_t steps, std::int64_t width, std::uint32_t* to) {
    std::int16_t rounded[kChunk] = {};
    to[0] = RoundToBlock<15>(x, steps, rounded);
    for (std::int64_t i = 0; i < (steps + 3) / 4; ++i) {
      const std::int16_t* of = rounded + i * 4;
      const auto pair = [](std::int16_t low, std::int16_t high) {
        return static_cast<std::uint16_t>(low) |
               static_cast<std::uint32_t>(static_cast<std::uint16_t>(high)) << 16;
      };
      to[(1 + 2 * i) * width] = pair(of[0], of[2]);
      to[(2 + 2 * i) * width] = pair(of[1], of[3]);
    }
  }

  static void PackColumn(const std::int8_t* codes, float scale, std::int64_t steps,
                         std::int64_t width, std::uint32_t* to) {
    to[0] = __builtin_bit_cast(std::uint32_t, scale);
    for (std::int64_t i = 0; i < (steps + 3) / 4; ++i) {
      std::uint32_t word = 0;
      for (std::int64_t j = 0; j < 4 && i * 4 + j < steps; ++j) {
        word |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(codes[i * 4 + j])) << 8 * j;
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
    x += kRows;
    VecInt sum[kRows][kVectors] = {};
    for (std::int64_t k = 0; k < steps; k += 4, x += 2 * kRows) {
      w += kPanel;
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        VecInt weights[kVectors];
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
          const std::uint32_t* from = w + v / 2 * panel_words + v % 2 * kLanes;
          if (kFromMemory && v % 2 == 0 && half == 0) __builtin_prefetch(from + kPrefetchWords);
          weights[v] = half == 0 ? EvenBytes(LoadInts(from)) : OddBytes(LoadInts(from));
        }
#pragma GCC unroll 12
        for (int r = 0; r < kRows; ++r) {
          const VecInt row = BroadcastInt(x + half * kRows + r);
#pragma GCC unroll 8
          for (int v = 0; v < kVectors; ++v) {
            sum[r][v] = AddPairProducts(sum[r][v], row, weights[v]);
            Settle(sum[r][v]);
          }
        }
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

#endif  // LLAVA_MODEL_KERNELS_CPU_INT8_FORMAT_H_
