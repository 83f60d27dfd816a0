// The hot loops of the CPU path, compiled for several instruction sets and chosen at run time.
#ifndef LLAVA_MODEL_KERNELS_CPU_DISPATCH_H_
#define LLAVA_MODEL_KERNELS_CPU_DISPATCH_H_

#include <cstdint>
#include <vector>

#include "base/attention_limits.h"

namespace llava::model {

// y [rows, out] = x [rows, in] Wᵀ + bias, W packed in panels (gemm_kernel.h). All fp32 but W.
struct GemmArgs {
  const float* x;
  std::int64_t ldx;  // row stride of x in floats; ldy is that of y
  std::int64_t rows;
  std::int64_t in;
  std::int64_t out;
  std::int64_t u32_per_row;     // 32-bit words of a packed row of x
  std::int64_t u32_per_column;  // of a packed column of W
  const std::uint32_t* panels;
  const float* bias;        // [out] or null
  std::uint32_t* packed_x;  // [rows * u32_per_row]: working memory for the rows of x in tiles
  float* y;
  std::int64_t ldy;
};

// How packed weights are held and multiplied. Not a dtype of tensors: a new format is a Format
// (gemm_kernel.h), a name here and a row in MakeTable (table.h).
enum class WeightFormat {
  kFp32,        // fp32_format.h
  kBlockFloat,  // block_float_format.h: of 16-bit weights
  kInt8,        // int8_format.h
  kInt4,        // int4_format.h
  kFp8,         // of no kernel here: DeviceMatrix of kernels/cuda
};
inline constexpr int kWeightFormats = 4;  // with kernels

// Products with weights of one format.
struct GemmKernels {
  // 32-bit words of a packed row of x and column of W of `in` numbers.
  std::int64_t (*u32_per_row)(std::int64_t in);
  std::int64_t (*u32_per_column)(std::int64_t in);
  // Fills a panel from `count` <= KernelTable::panel columns of W, each `in` numbers, one after the
  // other. Columns may also come part by part, each part but the last of a multiple of 256 numbers:
  // a part then goes to the panel's word u32_per_column(numbers of a column before it) * panel.
  // Does nothing for formats of codes.
  void (*pack_columns)(const float* columns, std::int64_t count, std::int64_t in,
                       std::uint32_t* to);
  // The same for formats of codes, from codes [count][in] and scales [count][groups] (quantize.h).
  void (*pack_codes)(const std::int8_t* codes, const float* scales, std::int64_t count,
                     std::int64_t in, std::uint32_t* to);
  // Fills packed_x, which few_rows and many_rows read.
  void (*pack_rows)(const GemmArgs&, std::int64_t first_tile, std::int64_t last_tile);
  // All rows times the panels [first_panel, last_panel). For a few tiles, where reading W from
  // memory takes the time.
  void (*few_rows)(const GemmArgs&, std::int64_t first_panel, std::int64_t last_panel);
  // The tiles [first_tile, last_tile) times the panels [first_panel, last_panel). For many tiles,
  // where arithmetic takes the time. `sums` is working memory of the calling thread: floats for the
  // rows of the tiles times the columns of the panels.
  void (*many_rows)(const GemmArgs&, std::int64_t first_tile, std::int64_t last_tile,
                    std::int64_t first_panel, std::int64_t last_panel, float* sums);
};

// The cache pads each value of a head to a multiple of the widest vector, 16 floats, so that the
// kernels read whole vectors.
inline constexpr int PaddedHeadDim(int head_dim) { return (head_dim + 15) / 16 * 16; }

// How the cache holds keys and values.
enum class KvFormat {
  kFp32,
  kBf16,
  kInt8,  // codes from -127 to 127, times a scale for each token and head
};

// Attention of the queries of one sequence. The tile of (block b, head h) is number b * kv_heads +
// h:
//   keys    fp32 [head_dim][16 tokens]
//           bf16 [head_dim / 2][16 tokens][2]
//           int8 [head_dim / 4][16 tokens][4], then the scales, fp32 [16 tokens]
//   values  fp32 [16 tokens][padded head_dim]
//           bf16 [16 tokens / 2][padded head_dim][2]
//           int8 [16 tokens / 4][padded head_dim][4], then the scales, fp32 [16 tokens]
// head_dim: even, of int8 a multiple of 4, at most kMaxHeadDim.
struct AttentionArgs {
  const float* q;  // [tokens][heads][head_dim], tokens q_token_stride floats apart
  std::int64_t q_token_stride;
  float* out;  // [tokens][heads][head_dim], tokens out_token_stride floats apart
  std::int64_t out_token_stride;
  int group;  // query heads of one key/value head
  int head_dim;
  float scale_log2e;           // log2(e) / sqrt(head_dim)
  std::int64_t first_visible;  // how many tokens the first query sees
  bool causal;                 // each further query sees one token more; else all see the same
  std::int64_t window;         // of what a query would see it sees the last so many; 0: all
  const char* keys;
  const char* values;
  std::int64_t key_tile_bytes;
  std::int64_t value_tile_bytes;
  std::int64_t kv_heads;
  KvFormat format;
  const std::int32_t* blocks;  // the sequence's block table
};

// Numbers of a row that are added up in fp32; sums of more are in double, for a vocabulary has 10^5
// of them, of which fp32 would lose the small ones.
inline constexpr std::int64_t kSumBlock = 512;

// What some numbers of a row make together.
struct RowShare {
  double sum;
  std::int64_t count;
};

// One set of kernels. All are pure functions of their arguments; any thread.
struct KernelTable {
  const char* name;
  int panel;                         // output columns of a weight panel
  int tile_rows;                     // rows of x that share a pass over a panel
  GemmKernels gemm[kWeightFormats];  // by WeightFormat
  // The most rows of one call to attend. A row is a query token and a query head of the group, rows
  // of one token one after the other.
  int attention_rows;
  void (*attend)(const AttentionArgs&, std::int64_t kv_head, std::int64_t first_row,
                 std::int64_t rows);
  // y = x / sqrt(mean(x²) + eps) * weight.
  void (*rms_norm_row)(const float* x, const float* weight, float eps, std::int64_t n, float* y);
  // y = gate * sigmoid(gate) * up. May be in place.
  void (*silu_times_row)(const float* gate, const float* up, std::int64_t n, float* y);
  // y = x * sigmoid(1.702 x). May be in place.
  void (*quick_gelu_row)(const float* x, std::int64_t n, float* y);
  // Rotates `heads` heads in place, in the rotate-half layout; cos and sin: [head_dim / 2].
  void (*rotate_row)(float* x, const float* cos, const float* sin, std::int64_t heads,
                     std::int64_t head_dim);
  // The largest of n >= 1 numbers; NaN when one is NaN.
  float (*max_of_row)(const float* x, std::int64_t n);
  // y = 2^((x - top) * scale); their sum. May be in place. block_sums[i] becomes the sum of
  // [i * kSumBlock, (i + 1) * kSumBlock).
  double (*weights_of_row)(const float* x, float top, float scale, std::int64_t n, float* y,
                           float* block_sums);
  // The weights below `least` become 0; the sum of the others, and block_sums as above.
  double (*cut_row)(float* weights, float least, std::int64_t n, float* block_sums);
  // Of the weights, none of which is negative, that are `least` > 0 or more.
  RowShare (*share_of)(const float* weights, float least, std::int64_t n);
  // The first i in [from, n) with least <= x[i] < below; n when there is none.
  std::int64_t (*find_in_row)(const float* x, std::int64_t from, std::int64_t n, float least,
                              float below);
};

// What every processor of the architecture runs.
const KernelTable& BaselineKernels();

// The sets that this processor runs, the best last.
std::vector<const KernelTable*> SupportedKernels();

// The best of them.
const KernelTable& Kernels();

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CPU_DISPATCH_H_
