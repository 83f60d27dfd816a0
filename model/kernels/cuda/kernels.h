// Our own kernels for NVIDIA GPUs, in builds with CUDA. No LibTorch here: tensors.h calls them with
// tensors. Every function only starts its work on `stream` and returns.
#ifndef LLAVA_MODEL_KERNELS_CUDA_KERNELS_H_
#define LLAVA_MODEL_KERNELS_CUDA_KERNELS_H_

#include <cstdint>

struct CUstream_st;  // what cudaStream_t points to

namespace llava::model::cuda {

enum class Type { kFloat, kBfloat16 };

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

// As KernelTable::silu_times_row, of rows [gate, up] of 2 n elements; y: [rows, n].
void SiluTimes(const void* gate_up, Type type, std::int64_t stride, int rows, int n, void* y,
               CUstream_st* stream);

// As KernelTable::quick_gelu_row.
void QuickGelu(const void* x, Type type, std::int64_t n, void* y, CUstream_st* stream);

}  // namespace llava::model::cuda

#endif  // LLAVA_MODEL_KERNELS_CUDA_KERNELS_H_
