// The kernels of kernels.h, called with tensors on their device's current stream.
#ifndef LLAVA_MODEL_KERNELS_CUDA_TENSORS_H_
#define LLAVA_MODEL_KERNELS_CUDA_TENSORS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace llava::model {

// Whether the functions below take x: the build has CUDA, and x is fp32 or bf16 on a GPU,
// contiguous in its last dimension and not to be differentiated.
bool HasCudaKernels(const at::Tensor& x);

// As RotateRows, SiluTimesRows and QuickGeluRows of network/rows.h.
void RotateOnGpu(const at::Tensor& x_THD, const at::Tensor& cos, const at::Tensor& sin);
at::Tensor SiluTimesOnGpu(const at::Tensor& gate_up);
at::Tensor QuickGeluOnGpu(const at::Tensor& x);

// Keys and values [T, kv_heads, head_dim] to slots_T (int64) of the cache's [slots, kv_heads,
// head_dim].
void WriteOnGpu(const at::Tensor& k_TKD, const at::Tensor& v_TKD, const at::Tensor& slots_T,
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

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CUDA_TENSORS_H_
