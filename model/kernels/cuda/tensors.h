// The kernels of kernels.h, called with tensors on their device's current stream.
#ifndef LLAVA_MODEL_KERNELS_CUDA_TENSORS_H_
#define LLAVA_MODEL_KERNELS_CUDA_TENSORS_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <utility>

namespace llava::model {

// Whether the functions below take x: the build has CUDA, and x is fp32 or bf16 on a GPU,
// contiguous in its last dimension and not to be differentiated.
bool HasCudaKernels(const at::Tensor& x);

// As RotateRows, SiluTimesRows and QuickGeluRows of network/rows.h.
void RotateOnGpu(const at::Tensor& x_THD, const at::Tensor& cos, const at::Tensor& sin);
at::Tensor SiluTimesOnGpu(const at::Tensor& gate_up);
at::Tensor QuickGeluOnGpu(const at::Tensor& x);

// As PixelRows of network/rows.h, both contiguous; tables: HasCudaKernels. dtype: fp32 or bf16.
at::Tensor PixelsOnGpu(const at::Tensor& bytes, const at::Tensor& tables, at::ScalarType dtype);

// Whether the two functions below take x [..., n] (and `more` of the same shape): HasCudaKernels of
// both, one dtype, n and strides that are multiples of 8; what has more than two dimensions has its
// last but one without gaps. No gradient is wanted of `weight` either.
bool HasRmsNormOnGpu(const at::Tensor& x, const at::Tensor& weight);
bool HasAddRmsNormOnGpu(const at::Tensor& x, const at::Tensor& more, const at::Tensor& weight);
// x / sqrt(mean(x²) + eps) * weight, contiguous, with one rounding.
at::Tensor RmsNormOnGpu(const at::Tensor& x, const at::Tensor& weight, double eps);
// x + more, rounded to its dtype, and RmsNormOnGpu of that; [T, n]. One launch.
std::pair<at::Tensor, at::Tensor> AddRmsNormOnGpu(const at::Tensor& x, const at::Tensor& more,
                                                  const at::Tensor& weight, double eps);

// Keys and values [T, kv_heads, head_dim] to slots_T (int64) of the cache's [slots, kv_heads,
// head_dim], which are fp32, bf16 or e4m3 (saturated).
void WriteOnGpu(const at::Tensor& k_TKD, const at::Tensor& v_TKD, const at::Tensor& slots_T,
                const at::Tensor& keys, const at::Tensor& values);

// RotateOnGpu of q and k and WriteOnGpu of k and v in one launch, to the same numbers. cos and sin:
// [T, 1, R / 2], where R may be less than head_dim: the rest of a head stays.
void RotateAndWriteOnGpu(const at::Tensor& q_THD, const at::Tensor& k_TKD, const at::Tensor& v_TKD,
                         const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& slots_T,
                         const at::Tensor& keys, const at::Tensor& values);

// The decoded tokens of one step, on the GPU.
struct GpuDecodes {
  at::Tensor lengths_S;      // int32: keys that each sees
  at::Tensor rows_S;         // int32: of the batch
  at::Tensor tables_SB;      // int32: blocks of kKvBlockTokens slots
  std::int64_t longest = 0;  // of lengths_S
  // Room of the kernel, made when it is first needed and kept as long as it is enough.
  at::Tensor partial;  // fp32
  at::Tensor arrived;  // int32, zeros between calls
};

// Writes rows_S of out_THD; keys and values as for WriteOnGpu. head_dim is a multiple of 8, at most
// kMaxHeadDim.
void DecodeOnGpu(GpuDecodes& decodes, const at::Tensor& q_THD, const at::Tensor& keys,
                 const at::Tensor& values, const at::Tensor& out_THD);

// Chunks of prompts in one step that have tokens before them in the cache, on the GPU.
struct GpuChunks {
  at::Tensor first_rows_C;   // int32: of the batch
  at::Tensor tokens_C;       // int32
  at::Tensor contexts_C;     // int32: tokens before them
  at::Tensor tables_CB;      // int32: blocks of kKvBlockTokens slots
  std::int64_t longest = 0;  // of tokens_C
};

// Whether AttendChunksOnGpu takes such queries and keys: bf16, or keys of e4m3, heads of a multiple
// of 16, and compute capability 8.0 or more.
bool HasChunksOnGpu(const at::Tensor& q_THD, const at::Tensor& keys);

// Writes the chunks' rows of out_THD, each from the keys and values of its sequence up to its own,
// which are in the cache already; keys and values as for WriteOnGpu.
void AttendChunksOnGpu(const GpuChunks& chunks, const at::Tensor& q_THD, const at::Tensor& keys,
                       const at::Tensor& values, const at::Tensor& out_THD);

// 10 times the compute capability of a GPU: 89 of 8.9. 0 where the build has no CUDA.
int ComputeCapability(at::Device gpu);

// Rows x [T, n] (fp32 or bf16, n a multiple of 8) as e4m3 with a scale each (E4m3Scale): to
// codes_TN (uint8, contiguous) and scales_T (fp32).
void QuantizeRowsOnGpu(const at::Tensor& x_TN, const at::Tensor& codes_TN,
                       const at::Tensor& scales_T);

// x Wᵀ + bias, [T, out] in the dtype of x, of weights codes_OI (int8, contiguous; the inputs a
// multiple of 16) times scales_OG (fp32), one for `group` inputs, a multiple of 16. bias_O: of any
// floating point dtype, or undefined. Few rows are multiplied with the codes; for more the numbers
// are made in the dtype of x, in memory that is free again afterwards.
at::Tensor Int8ProductOnGpu(const at::Tensor& x_TI, const at::Tensor& codes_OI,
                            const at::Tensor& scales_OG, std::int64_t group,
                            const at::Tensor& bias_O);

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CUDA_TENSORS_H_
