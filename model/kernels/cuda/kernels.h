// Our own kernels for NVIDIA GPUs, in builds with CUDA. No LibTorch here: tensors.h calls them with
// tensors. Every function only starts its work on `stream` and returns.
#ifndef LLAVA_MODEL_KERNELS_CUDA_KERNELS_H_
#define LLAVA_MODEL_KERNELS_CUDA_KERNELS_H_

#include <cstdint>

struct CUstream_st;  // what cudaStream_t points to

namespace llava::model::cuda {

enum class Type {
  kFloat,
  kBfloat16,
  kE4m3,  // of e4m3.h; only of a cache
};

// Attention of one query token for each of some sequences, over keys and values in place. Shape
// letters as in attention/attention.h; computes in fp32.
struct DecodeArgs {
  const void* q;  // row r, head h at (r * q_stride + h * head_dim) elements
  void* out;      // row r, head h at (r * out_stride + h * head_dim) elements
  Type q_type;    // of q and out
  std::int64_t q_stride;
  std::int64_t out_stride;
  const void* keys;    // [slot, kv_heads, head_dim]
  const void* values;  // [slot, kv_heads, head_dim]
  Type cache_type;
  int sequences;
  int heads;
  int kv_heads;
  int head_dim;                 // a multiple of 8, at most kMaxHeadDim
  const std::int32_t* lengths;  // [sequences] keys to see
  const std::int32_t* rows;     // [sequences] row of q and out
  const std::int32_t* tables;   // [sequences, table_stride] blocks of kKvBlockTokens slots
  int table_stride;
  int splits;  // parts that each context is cut into, one for a thread block
  // Working memory, unused with one split: the sums of each split [sequences, heads, splits,
  // head_dim + 2], and how many splits have ended [sequences, heads], zeros before and after.
  float* partial;
  int* arrived;
};
void Decode(const DecodeArgs& args, CUstream_st* stream);

// Attention of prompts' chunks, each the last tokens of its sequence, over that sequence's keys and
// values in place, its own among them: a query sees its own key and those before it. q and out are
// bf16, keys and values too or e4m3, products and sums fp32, weights of values bf16 (as in
// FlashAttention). For compute capability 8.0 and more.
struct PromptArgs {
  const void* q;  // row r, head h at (r * q_stride + h * head_dim) elements
  void* out;      // row r, head h at (r * out_stride + h * head_dim) elements
  std::int64_t q_stride;
  std::int64_t out_stride;
  const void* keys;    // [slot, kv_heads, head_dim], from a multiple of 32 bytes on
  const void* values;  // [slot, kv_heads, head_dim], from a multiple of 32 bytes on
  Type cache_type;     // kBfloat16 or kE4m3
  int chunks;
  int heads;
  int kv_heads;
  int head_dim;                    // a multiple of 16, at most kMaxHeadDim
  const std::int32_t* first_rows;  // [chunks] of q and out
  const std::int32_t* tokens;      // [chunks]
  const std::int32_t* contexts;    // [chunks] tokens of the sequence before them
  const std::int32_t* tables;      // [chunks, table_stride] blocks of kKvBlockTokens slots
  int table_stride;
  int longest;  // of tokens
};
void Prompt(const PromptArgs& args, CUstream_st* stream);

// Rows k and v of [tokens, kv_heads * head_dim] (k_stride and v_stride elements apart) go to the
// slots, in the type of the cache.
struct WriteArgs {
  const void* k;
  const void* v;
  Type type;
  std::int64_t k_stride;
  std::int64_t v_stride;
  void* keys;
  void* values;
  Type cache_type;
  const std::int64_t* slots;
  int tokens;
  int width;  // kv_heads * head_dim
};
void Write(const WriteArgs& args, CUstream_st* stream);

// As KernelTable::rotate_row, of `tokens` rows; cos and sin: [tokens, head_dim / 2].
void Rotate(void* x, Type type, std::int64_t stride, const float* cos, const float* sin, int tokens,
            int heads, int head_dim, CUstream_st* stream);

// Rotate of q and k in place, and Write of k, so rotated, and v, in one launch and with the same
// roundings: a rotated number is rounded to `type` before it goes to the cache. Only the first
// `rotated` dimensions of a head turn (even; cos and sin: [tokens, rotated / 2]).
struct RotateAndWriteArgs {
  void* q;  // row r, head h at (r * q_stride + h * head_dim) elements
  std::int64_t q_stride;
  void* k;  // as q, with kv_heads heads
  std::int64_t k_stride;
  const void* v;
  std::int64_t v_stride;
  Type type;  // of q, k and v
  const float* cos;
  const float* sin;
  int rotated;
  void* keys;    // [slot, kv_heads, head_dim]
  void* values;  // [slot, kv_heads, head_dim]
  Type cache_type;
  const std::int64_t* slots;  // [tokens]
  int tokens;
  int heads;
  int kv_heads;
  int head_dim;  // even
};
void RotateAndWrite(const RotateAndWriteArgs& args, CUstream_st* stream);

// y = s / sqrt(mean(s²) + eps) * weight of every row, where s = x + more, or x where there is no
// `more`. s is rounded to the type before it is squared, as it would be as a tensor of its own, and
// y once, in the end; all between is fp32.
struct AddRmsNormArgs {
  // Row r at (r / inner * x_stride + r % inner * n) elements: with inner > 1 a row of memory holds
  // several, the heads of a token.
  const void* x;
  std::int64_t x_stride;
  int inner;
  const void* more;  // [rows, n], more_stride elements apart; or null
  std::int64_t more_stride;
  const void* weight;  // [n]
  void* sum;           // [rows, n] s; null without `more`
  void* y;             // [rows, n]
  // Of all of them. They begin at multiples of 16 bytes, and the strides are multiples of 8.
  Type type;
  int rows;
  int n;  // a multiple of 8
  float eps;
};
void AddRmsNorm(const AddRmsNormArgs& args, CUstream_st* stream);

// As KernelTable::silu_times_row, of rows [gate, up] of 2 n elements; y: [rows, n].
void SiluTimes(const void* gate_up, Type type, std::int64_t stride, int rows, int n, void* y,
               CUstream_st* stream);

// Rows as e4m3 (e4m3.h), each divided by its E4m3Scale.
struct QuantizeRowsArgs {
  const void* x;  // [rows, n], x_stride elements apart; from a multiple of 16 bytes on
  Type type;
  std::int64_t x_stride;  // a multiple of 8
  int rows;
  int n;                // a multiple of 8
  std::uint8_t* codes;  // [rows, n], from a multiple of 8 bytes on
  float* scales;        // [rows]
};
void QuantizeRows(const QuantizeRowsArgs& args, CUstream_st* stream);

// Weights of 8 bits: the number of code (o, i) is code * scale (o, i / group).
struct Int8Weights {
  const std::int8_t* codes;  // [out, in], from a multiple of 16 bytes on
  const float* scales;       // [out, groups]
  int out;
  int in;     // a multiple of 16
  int group;  // a multiple of 16
  int groups;
};

// y = x Wᵀ + bias, for few rows: the weights are read once for each kInt8Rows of them. Products and
// sums are fp32; y is rounded once.
inline constexpr int kInt8Rows = 8;
struct Int8ProductArgs {
  Int8Weights weights;
  const void* x;          // [rows, in], x_stride elements apart; from a multiple of 16 bytes on
  const void* bias;       // [out], or null
  void* y;                // [rows, out]
  Type type;              // of x, bias and y
  std::int64_t x_stride;  // a multiple of 8
  int rows;
};
void Int8Product(const Int8ProductArgs& args, CUstream_st* stream);

// The numbers of the weights, [out, in] from a multiple of 16 bytes on, each rounded to `type`.
void DequantizeInt8(const Int8Weights& weights, Type type, void* numbers, CUstream_st* stream);

// As KernelTable::quick_gelu_row.
void QuickGelu(const void* x, Type type, std::int64_t n, void* y, CUstream_st* stream);

// The values of planes of n bytes each, y[p][i] = tables[p][bytes[p][i]] rounded to the type;
// tables: [planes, 256].
void Pixels(const std::uint8_t* bytes, const float* tables, Type type, int planes, int n, void* y,
            CUstream_st* stream);

}  // namespace llava::model::cuda

#endif  // LLAVA_MODEL_KERNELS_CUDA_KERNELS_H_
