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

// Row tiles: tile t holds rows [TileBegin(t), TileBegin(t + 1)), packed as [k][rows of the tile].
LLAVA_INLINE std::int64_t TileBegin(std::int64_t rows, std::int64_t tile) {
  return SmallerOf(rows, tile * kTileRows);
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

// Products of one tile with kPanels panels read straight from packed memory, over all of k.
template <int kRows, int kPanels, bool kBf16>
struct FewRows {
  static constexpr int kStep = kBf16 ? 2 : 1;
  static constexpr std::int64_t kStepBytes = 4 * kPanel;
  static constexpr std::int64_t kPrefetchBytes = 2048;

  Vec sum[kRows][kPanels][2] = {};

  LLAVA_INLINE_MEMBER void Add(int p, const float* x, Vec left, Vec right) {
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const Vec scale = Broadcast(x[r]);
      sum[r][p][0] = MulAdd(scale, left, sum[r][p][0]);
      sum[r][p][1] = MulAdd(scale, right, sum[r][p][1]);
    }
  }

  LLAVA_INLINE_MEMBER void Step(int p, const float* x, const char* w, bool last_half_missing) {
    __builtin_prefetch(w + kPrefetchBytes);
    if constexpr (kBf16) {
      const auto* pairs = reinterpret_cast<const std::uint16_t*>(w);
      const VecBits left = LoadPairs(pairs), right = LoadPairs(pairs + kPanel);
      Add(p, x, LowHalf(left), LowHalf(right));
      if (!last_half_missing) Add(p, x + kRows, HighHalf(left), HighHalf(right));
    } else {
      const auto* values = reinterpret_cast<const float*>(w);
      Add(p, x, Load(values), Load(values + kLanes));
    }
  }

  static void Run(const GemmArgs& g, std::int64_t row, std::int64_t panel) {
    FewRows tile;
    const float* x = g.packed_x + row * g.in;
    const char* w = PanelAt(g, panel);
    const std::int64_t panel_bytes = g.panel_bytes, in = g.in;
    for (std::int64_t k = 0; k < in; k += kStep, x += kStep * kRows, w += kStepBytes) {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) tile.Step(p, x, w + p * panel_bytes, k + 1 == in);
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p) {
        StoreOutputs(g, row + r, panel + p, tile.sum[r][p][0], tile.sum[r][p][1]);
      }
    }
  }
};

template <bool kBf16, int kRows = kTileRows>
void FewRowsOf(const GemmArgs& g, std::int64_t row, std::int64_t rows, std::int64_t first,
               std::int64_t last) {
  if (rows == kRows) {
    constexpr int kPanels = kRows == 1 ? 4 : kRows <= 3 ? 2 : 1;
    std::int64_t panel = first;
    for (; panel + kPanels <= last; panel += kPanels) {
      FewRows<kRows, kPanels, kBf16>::Run(g, row, panel);
    }
    for (; panel < last; ++panel) FewRows<kRows, 1, kBf16>::Run(g, row, panel);
  } else if constexpr (kRows > 1) {
    FewRowsOf<kBf16, kRows - 1>(g, row, rows, first, last);
  }
}

void GemmFewRows(const GemmArgs& g, std::int64_t first, std::int64_t last) {
  for (std::int64_t row = 0; row < g.rows; row += kTileRows) {
    const std::int64_t rows = SmallerOf(kTileRows, g.rows - row);
    g.bf16 ? FewRowsOf<true>(g, row, rows, first, last)
           : FewRowsOf<false>(g, row, rows, first, last);
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
      const Vec scale = Broadcast(x[r]);
      sum[r][0] = MulAdd(scale, left, sum[r][0]);
      sum[r][1] = MulAdd(scale, right, sum[r][1]);
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
    __builtin_prefetch(pairs + (i + kChunk / 4) * kPanel);
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
