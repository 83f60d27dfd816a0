// Matrix product with a weight matrix packed in panels, for one thread (gemm.h drives it).
//
// A panel is kPanel = 2 * kLanes output columns: fp32 as [k][kPanel], bf16 as [k / 2][kPanel][2]
// (two neighbours in k share a 32-bit word). Every output is the chain y = fma(x[k], w[k], y) in
// the order of k, whatever the number of rows and however the work is cut, so a row's result does
// not depend on the other rows of the batch.
#ifndef LLAVA_MODEL_KERNELS_GEMM_KERNEL_H_
#define LLAVA_MODEL_KERNELS_GEMM_KERNEL_H_

#include "model/kernels/dispatch.h"
#include "model/kernels/simd.h"

namespace llava::model::LLAVA_ISA {

constexpr int kPanel = 2 * kLanes;
// As many accumulators as fit beside the operands: 16 registers, or 32 with AVX-512.
constexpr int kTileRows = kLanes >= 16 ? 12 : 6;
constexpr std::int64_t kChunk = 256;  // k steps of a panel that stay in the first-level cache

LLAVA_INLINE const char* PanelAt(const GemmArgs& g, std::int64_t panel) {
  return static_cast<const char*>(g.panels) + panel * g.panel_bytes;
}

// Adds the bias and stores the columns of `panel` that exist.
LLAVA_INLINE void StoreOutputs(const GemmArgs& g, std::int64_t row, std::int64_t panel, Vec low,
                               Vec high) {
  const std::int64_t column = panel * kPanel;
  const std::int64_t count = SmallerOf(kPanel, g.out - column);
  float* y = g.y + row * g.ldy + column;
  if (count == kPanel) {
    if (g.bias != nullptr) low += Load(g.bias + column), high += Load(g.bias + column + kLanes);
    Store(y, low);
    Store(y + kLanes, high);
    return;
  }
  for (int i = 0; i < count; ++i) {
    const float value = i < kLanes ? low[i] : high[i - kLanes];
    y[i] = g.bias != nullptr ? value + g.bias[column + i] : value;
  }
}

// A few rows: kRows x kPanels panels straight from packed memory, over all of k. Bound by memory.
template <int kRows, int kPanels, bool kBf16>
void FewRows(const GemmArgs& g, std::int64_t row, std::int64_t panel) {
  Vec sum[kRows][kPanels][2] = {};
  constexpr int kStep = kBf16 ? 2 : 1;
  const float* x = g.x + row * g.ldx;
  for (std::int64_t k = 0; k < g.in; k += kStep) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      if constexpr (kBf16) {
        const auto* w = reinterpret_cast<const std::uint16_t*>(PanelAt(g, panel + p)) + k * kPanel;
        const VecBits left = LoadPairs(w), right = LoadPairs(w + kPanel);
#pragma GCC unroll 12
        for (int r = 0; r < kRows; ++r) {
          sum[r][p][0] += x[r * g.ldx + k] * LowHalf(left);
          sum[r][p][1] += x[r * g.ldx + k] * LowHalf(right);
        }
        if (k + 1 == g.in) continue;  // odd: the last pair has no second half
#pragma GCC unroll 12
        for (int r = 0; r < kRows; ++r) {
          sum[r][p][0] += x[r * g.ldx + k + 1] * HighHalf(left);
          sum[r][p][1] += x[r * g.ldx + k + 1] * HighHalf(right);
        }
      } else {
        const float* w = reinterpret_cast<const float*>(PanelAt(g, panel + p)) + k * kPanel;
        const Vec left = Load(w), right = Load(w + kLanes);
#pragma GCC unroll 12
        for (int r = 0; r < kRows; ++r) {
          sum[r][p][0] += x[r * g.ldx + k] * left;
          sum[r][p][1] += x[r * g.ldx + k] * right;
        }
      }
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      StoreOutputs(g, row + r, panel + p, sum[r][p][0], sum[r][p][1]);
    }
  }
}

template <int kRows, bool kBf16>
void FewRowsOf(const GemmArgs& g, std::int64_t first, std::int64_t last) {
  constexpr int kPanels = kRows == 1 ? 4 : kRows <= 3 ? 2 : 1;
  std::int64_t panel = first;
  for (; panel + kPanels <= last; panel += kPanels) FewRows<kRows, kPanels, kBf16>(g, 0, panel);
  for (; panel < last; ++panel) FewRows<kRows, 1, kBf16>(g, 0, panel);
}

template <bool kBf16, int kRows = kTileRows>
void FewRowsAny(const GemmArgs& g, std::int64_t first, std::int64_t last) {
  if (g.rows == kRows) {
    FewRowsOf<kRows, kBf16>(g, first, last);
  } else if constexpr (kRows > 1) {
    FewRowsAny<kBf16, kRows - 1>(g, first, last);
  }
}

void GemmFewRows(const GemmArgs& g, std::int64_t first, std::int64_t last) {
  g.bf16 ? FewRowsAny<true>(g, first, last) : FewRowsAny<false>(g, first, last);
}

// Row tiles of nearly equal height: tile t holds rows [TileBegin(t), TileBegin(t + 1)).
LLAVA_INLINE std::int64_t Tiles(std::int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }
LLAVA_INLINE std::int64_t TileBegin(std::int64_t rows, std::int64_t tile) {
  return rows * tile / Tiles(rows);
}

void GemmPackRows(const GemmArgs& g, std::int64_t first_tile, std::int64_t last_tile) {
  for (std::int64_t tile = first_tile; tile < last_tile; ++tile) {
    const std::int64_t begin = TileBegin(g.rows, tile);
    const std::int64_t rows = TileBegin(g.rows, tile + 1) - begin;
    float* to = g.packed_x + begin * g.in;
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* from = g.x + (begin + r) * g.ldx;
      for (std::int64_t k = 0; k < g.in; ++k) to[k * rows + r] = from[k];
    }
  }
}

// One tile of packed rows times a chunk of one fp32 panel. `sums` [rows][kPanel] holds partial
// results.
template <int kRows>
void TileTimesPanel(const float* x, const float* w, std::int64_t steps, float* sums,
                    std::int64_t stride) {
  Vec sum[kRows][2];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    sum[r][0] = Load(sums + r * stride);
    sum[r][1] = Load(sums + r * stride + kLanes);
  }
  for (std::int64_t k = 0; k < steps; ++k, x += kRows, w += kPanel) {
    const Vec left = Load(w), right = Load(w + kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      sum[r][0] += x[r] * left;
      sum[r][1] += x[r] * right;
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    Store(sums + r * stride, sum[r][0]);
    Store(sums + r * stride + kLanes, sum[r][1]);
  }
}

template <int kRows = kTileRows>
void TileOf(std::int64_t rows, const float* x, const float* w, std::int64_t steps, float* sums,
            std::int64_t stride) {
  if (rows == kRows) {
    TileTimesPanel<kRows>(x, w, steps, sums, stride);
  } else if constexpr (kRows > 1) {
    TileOf<kRows - 1>(rows, x, w, steps, sums, stride);
  }
}

// The chunk [k, k + steps) of a panel as fp32: in place, or converted into `scratch`.
LLAVA_INLINE const float* PanelChunk(const GemmArgs& g, std::int64_t panel, std::int64_t k,
                                     std::int64_t steps, float* scratch) {
  if (!g.bf16) return reinterpret_cast<const float*>(PanelAt(g, panel)) + k * kPanel;
  const auto* pairs = reinterpret_cast<const std::uint16_t*>(PanelAt(g, panel)) + k * kPanel;
  for (std::int64_t i = 0; i < steps; i += 2) {
    float* to = scratch + i * kPanel;
    const VecBits left = LoadPairs(pairs + i * kPanel);
    const VecBits right = LoadPairs(pairs + (i + 1) * kPanel);
    Store(to, LowHalf(left));
    Store(to + kLanes, LowHalf(right));
    Store(to + kPanel, HighHalf(left));
    Store(to + kPanel + kLanes, HighHalf(right));
  }
  return scratch;
}

// Output tiles [first_tile, last_tile) x panels [first, last). g.sums: fp32 room of this thread for
// (rows of the tiles) x (panels) x kPanel.
void GemmManyRows(const GemmArgs& g, std::int64_t first_tile, std::int64_t last_tile,
                  std::int64_t first, std::int64_t last, float* sums) {
  alignas(64) float scratch[kChunk * kPanel];
  const std::int64_t top = TileBegin(g.rows, first_tile);
  const std::int64_t height = TileBegin(g.rows, last_tile) - top;
  const std::int64_t stride = (last - first) * kPanel;
  for (std::int64_t i = 0; i < height * stride; i += kLanes) Store(sums + i, Vec{});
  for (std::int64_t k = 0; k < g.in; k += kChunk) {
    const std::int64_t steps = SmallerOf(kChunk, g.in - k);
    for (std::int64_t panel = first; panel < last; ++panel) {
      const float* w = PanelChunk(g, panel, k, steps, scratch);
      for (std::int64_t tile = first_tile; tile < last_tile; ++tile) {
        const std::int64_t begin = TileBegin(g.rows, tile);
        const std::int64_t rows = TileBegin(g.rows, tile + 1) - begin;
        TileOf(rows, g.packed_x + begin * g.in + k * rows, w, steps,
               sums + (begin - top) * stride + (panel - first) * kPanel, stride);
      }
    }
  }
  for (std::int64_t r = 0; r < height; ++r) {
    for (std::int64_t panel = first; panel < last; ++panel) {
      const float* from = sums + r * stride + (panel - first) * kPanel;
      StoreOutputs(g, top + r, panel, Load(from), Load(from + kLanes));
    }
  }
}

}  // namespace llava::model::LLAVA_ISA

#endif  // LLAVA_MODEL_KERNELS_GEMM_KERNEL_H_
