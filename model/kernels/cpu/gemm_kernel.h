// Matrix product with a weight matrix packed in panels, for one thread (packed_matrix.h drives it).
//
// Both operands lie in strips: a panel is a strip of kPanel weight columns, a tile a strip of up to
// kTileRows rows of x. A chunk's product is added to fp32 sums in the order of k, whatever the
// number of rows and however the work is cut, so a row's result does not depend on the other rows
// of the batch. A Format (fp32_format.h, block_float_format.h, int8_format.h, int4_format.h) says
// how numbers lie in a strip and multiplies them:
//   kChunk               steps of k that are multiplied at a time
//   kRowWords, kColumnWords  32-bit words of a chunk of a row of x, and of a column of weights
//   RowWords(in), ColumnWords(in)  words of a whole row and column of `in` numbers
//   PackRow(x, steps, width, to)  writes a row's chunk of a strip of `width`
//   PackColumn           the same of a column: from numbers, or, where kQuantized, from codes and
//                        their scale (quantize.h)
//   AddChunk<kRows, kPanels, kFromMemory>(x, w, panel_words, steps, sums, stride)
//                        adds chunk x of a tile times chunk w of kPanels panels, panel_words apart,
//                        to sums [kRows][stride]; kFromMemory: asks for the weights ahead of time
#ifndef LLAVA_MODEL_KERNELS_CPU_GEMM_KERNEL_H_
#define LLAVA_MODEL_KERNELS_CPU_GEMM_KERNEL_H_

#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/simd.h"

namespace llava::model::LLAVA_ISA {

// A panel is two vectors wide: each broadcast number of x is used twice, and the products of
// neighbouring rows hide the latency of a multiply-add.
constexpr int kPanel = 2 * kLanes;
// A tile of kTileRows x kPanel sums must fit into the registers beside its operands: 2 * 6
// accumulators of 16 registers, or 2 * 12 of 32.
constexpr int kTileRows = kHasManyRegisters ? 12 : 6;

LLAVA_INLINE const std::uint32_t* PanelAt(const GemmArgs& g, std::int64_t panel) {
  return g.panels + panel * kPanel * g.u32_per_column;
}

// The first row of a tile: tile t holds the rows [TileBegin(rows, t), TileBegin(rows, t + 1)).
LLAVA_INLINE std::int64_t TileBegin(std::int64_t rows, std::int64_t tile) {
  return SmallerOf(rows, tile * kTileRows);
}

// Adds the bias and stores the columns of `panel` that exist.
LLAVA_INLINE void StoreOutputs(const GemmArgs& g, std::int64_t row, std::int64_t panel,
                               const float* sums) {
  const std::int64_t column = panel * kPanel;
  const std::int64_t count = SmallerOf(kPanel, g.out - column);
  float* y = g.y + row * g.ldy + column;
  const float* bias = g.bias == nullptr ? nullptr : g.bias + column;
  if (count == kPanel) {
    for (int i = 0; i < kPanel; i += kLanes) {
      Store(y + i, bias != nullptr ? Load(sums + i) + Load(bias + i) : Load(sums + i));
    }
    return;
  }
  for (int i = 0; i < count; ++i) y[i] = bias != nullptr ? sums[i] + bias[i] : sums[i];
}

// Both fill a strip chunk by chunk, so that the part of it that is written stays in the nearest
// cache until it is complete.
template <typename Format>
void GemmPackColumns(const float* columns, std::int64_t count, std::int64_t in,
                     std::uint32_t* panel) {
  if constexpr (!Format::kQuantized) {
    for (std::int64_t k = 0; k < in; k += Format::kChunk, panel += Format::kColumnWords * kPanel) {
      const std::int64_t steps = SmallerOf(Format::kChunk, in - k);
      for (std::int64_t i = 0; i < count; ++i) {
        Format::PackColumn(columns + i * in + k, steps, kPanel, panel + i);
      }
    }
  }
}

template <typename Format>
void GemmPackCodes(const std::int8_t* codes, const float* scales, std::int64_t count,
                   std::int64_t in, std::uint32_t* panel) {
  if constexpr (Format::kQuantized) {
    const std::int64_t chunks = (in + Format::kChunk - 1) / Format::kChunk;
    for (std::int64_t c = 0; c < chunks; ++c, panel += Format::kColumnWords * kPanel) {
      const std::int64_t k = c * Format::kChunk;
      const std::int64_t steps = SmallerOf(Format::kChunk, in - k);
      for (std::int64_t i = 0; i < count; ++i) {
        Format::PackColumn(codes + i * in + k, scales[i * chunks + c], steps, kPanel, panel + i);
      }
    }
  }
}

template <typename Format>
void GemmPackRows(const GemmArgs& g, std::int64_t first_tile, std::int64_t last_tile) {
  for (std::int64_t tile = first_tile; tile < last_tile; ++tile) {
    const std::int64_t begin = TileBegin(g.rows, tile);
    const std::int64_t rows = TileBegin(g.rows, tile + 1) - begin;
    std::uint32_t* to = g.packed_x + begin * g.u32_per_row;
    for (std::int64_t k = 0; k < g.in; k += Format::kChunk, to += Format::kRowWords * rows) {
      const std::int64_t steps = SmallerOf(Format::kChunk, g.in - k);
      for (std::int64_t i = 0; i < rows; ++i) {
        Format::PackRow(g.x + (begin + i) * g.ldx + k, steps, rows, to + i);
      }
    }
  }
}

// kPanels neighbouring panels times one tile, over all of k.
template <typename Format, int kRows, int kPanels>
void TileTimesPanels(const GemmArgs& g, std::int64_t row, std::int64_t panel) {
  constexpr std::int64_t kStride = kPanels * kPanel;
  alignas(64) float sums[kRows * kStride] = {};
  const std::uint32_t* x = g.packed_x + row * g.u32_per_row;
  const std::uint32_t* w = PanelAt(g, panel);
  for (std::int64_t k = 0; k < g.in; k += Format::kChunk) {
    const std::int64_t steps = SmallerOf(Format::kChunk, g.in - k);
    Format::template AddChunk<kRows, kPanels, true>(x, w, kPanel * g.u32_per_column, steps, sums,
                                                    kStride);
    x += kRows * Format::kRowWords;
    w += kPanel * Format::kColumnWords;
  }
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) {
      StoreOutputs(g, row + r, panel + p, sums + r * kStride + p * kPanel);
    }
  }
}

// The tile of `rows` rows that begins at `row`, times the panels [first, last). `rows` becomes a
// constant of the inner loops by recursion over kRows. A tile of few rows leaves registers free for
// several panels at a time: 4, 2 or 1 panels of 1, 3 or more rows use about as many accumulators.
template <typename Format, int kRows = kTileRows>
void TileTimesAll(const GemmArgs& g, std::int64_t row, std::int64_t rows, std::int64_t first,
                  std::int64_t last) {
  if (rows == kRows) {
    constexpr int kPanels = kRows == 1 ? 4 : kRows <= 3 ? 2 : 1;
    std::int64_t panel = first;
    for (; panel + kPanels <= last; panel += kPanels) {
      TileTimesPanels<Format, kRows, kPanels>(g, row, panel);
    }
    for (; panel < last; ++panel) TileTimesPanels<Format, kRows, 1>(g, row, panel);
  } else if constexpr (kRows > 1) {
    TileTimesAll<Format, kRows - 1>(g, row, rows, first, last);
  }
}

template <typename Format>
void GemmFewRows(const GemmArgs& g, std::int64_t first, std::int64_t last) {
  for (std::int64_t row = 0; row < g.rows; row += kTileRows) {
    TileTimesAll<Format>(g, row, SmallerOf(kTileRows, g.rows - row), first, last);
  }
}

template <typename Format, int kRows = kTileRows>
void AddChunkOf(std::int64_t rows, const std::uint32_t* x, const std::uint32_t* w,
                std::int64_t steps, float* sums, std::int64_t stride) {
  if (rows == kRows) {
    Format::template AddChunk<kRows, 1, false>(x, w, 0, steps, sums, stride);
  } else if constexpr (kRows > 1) {
    AddChunkOf<Format, kRows - 1>(rows, x, w, steps, sums, stride);
  }
}

// The tiles [first_tile, last_tile) times the panels [first, last). `sums` is working memory of
// this thread: floats for (rows of the tiles) x (panels) x kPanel.
template <typename Format>
void GemmManyRows(const GemmArgs& g, std::int64_t first_tile, std::int64_t last_tile,
                  std::int64_t first, std::int64_t last, float* sums) {
  const std::int64_t top = TileBegin(g.rows, first_tile);
  const std::int64_t height = TileBegin(g.rows, last_tile) - top;
  const std::int64_t stride = (last - first) * kPanel;
  for (std::int64_t i = 0; i < height * stride; i += kLanes) Store(sums + i, Vec{});
  for (std::int64_t k = 0; k < g.in; k += Format::kChunk) {
    const std::int64_t chunk = k / Format::kChunk;
    const std::int64_t steps = SmallerOf(Format::kChunk, g.in - k);
    for (std::int64_t panel = first; panel < last; ++panel) {
      const std::uint32_t* w = PanelAt(g, panel) + chunk * Format::kColumnWords * kPanel;
      for (std::int64_t tile = first_tile; tile < last_tile; ++tile) {
        const std::int64_t begin = TileBegin(g.rows, tile);
        const std::int64_t rows = TileBegin(g.rows, tile + 1) - begin;
        const std::uint32_t* x =
            g.packed_x + begin * g.u32_per_row + chunk * Format::kRowWords * rows;
        AddChunkOf<Format>(rows, x, w, steps,
                           sums + (begin - top) * stride + (panel - first) * kPanel, stride);
      }
    }
  }
  for (std::int64_t r = 0; r < height; ++r) {
    for (std::int64_t panel = first; panel < last; ++panel) {
      StoreOutputs(g, top + r, panel, sums + r * stride + (panel - first) * kPanel);
    }
  }
}

template <typename Format>
inline constexpr GemmKernels MakeGemmKernels() {
  return {.u32_per_row = Format::RowWords,
          .u32_per_column = Format::ColumnWords,
          .pack_columns = GemmPackColumns<Format>,
          .pack_codes = GemmPackCodes<Format>,
          .pack_rows = GemmPackRows<Format>,
          .few_rows = GemmFewRows<Format>,
          .many_rows = GemmManyRows<Format>};
}

}  // namespace llava::model::LLAVA_ISA

#endif  // LLAVA_MODEL_KERNELS_CPU_GEMM_KERNEL_H_
