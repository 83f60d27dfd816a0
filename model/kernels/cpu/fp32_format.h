// fp32 weights: a strip of n columns or rows is [k][n] floats, and every output is the chain
// y = fma(x[k], w[k], y) in the order of k.
#ifndef LLAVA_MODEL_KERNELS_CPU_FP32_FORMAT_H_
#define LLAVA_MODEL_KERNELS_CPU_FP32_FORMAT_H_

#include "model/kernels/cpu/gemm_kernel.h"
#include "model/kernels/cpu/simd.h"

namespace llava::model::LLAVA_ISA {

struct Fp32Format {
  // One chunk of a panel is 256 x (8 to 32) floats, 8 to 32 KiB: it stays in the nearest cache
  // while all tiles of a job pass over it.
  static constexpr std::int64_t kChunk = 256;
  static constexpr std::int64_t kRowWords = kChunk;
  static constexpr std::int64_t kColumnWords = kChunk;
  static constexpr bool kQuantized = false;

  static std::int64_t RowWords(std::int64_t in) { return in; }
  static std::int64_t ColumnWords(std::int64_t in) { return in; }

  static void PackRow(const float* x, std::int64_t steps, std::int64_t width, std::uint32_t* to) {
    for (std::int64_t k = 0; k < steps; ++k) {
      to[k * width] = reinterpret_cast<const Word*>(x + k)->bits;
    }
  }
  static void PackColumn(const float* w, std::int64_t steps, std::int64_t width,
                         std::uint32_t* to) {
    PackRow(w, steps, width, to);
  }

  template <int kRows, int kPanels, bool kFromMemory>
  static void AddChunk(const std::uint32_t* x, const std::uint32_t* w, std::int64_t panel_words,
                       std::int64_t steps, float* sums, std::int64_t stride) {
    Vec sum[kRows][kPanels * 2];
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kPanels * 2; ++v) sum[r][v] = Load(sums + r * stride + v * kLanes);
    }
    for (std::int64_t k = 0; k < steps; ++k, x += kRows, w += kPanel) {
      Vec weights[kPanels * 2];
#pragma GCC unroll 8
      for (int v = 0; v < kPanels * 2; ++v) {
        const std::uint32_t* from = w + v / 2 * panel_words + v % 2 * kLanes;
        if (kFromMemory && v % 2 == 0) __builtin_prefetch(from + kPrefetchWords);
        weights[v] = LoadFloats(from);
      }
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const Vec row = BroadcastFloat(x + r);
#pragma GCC unroll 8
        for (int v = 0; v < kPanels * 2; ++v) sum[r][v] = MulAdd(row, weights[v], sum[r][v]);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kPanels * 2; ++v) Store(sums + r * stride + v * kLanes, sum[r][v]);
    }
  }
};

}  // namespace llava::model::LLAVA_ISA

#endif  // LLAVA_MODEL_KERNELS_CPU_FP32_FORMAT_H_
