// The model's element-wise steps, each in one pass over the rows. Without gradients, for fp32 on
// the CPU and what HasCudaKernels takes: elsewhere the model says the same in ATen operators, which
// tests compare to.
#ifndef LLAVA_MODEL_NETWORK_ROWS_H_
#define LLAVA_MODEL_NETWORK_ROWS_H_

#include <ATen/core/Tensor.h>

namespace llava::model {

// True when the functions below take x: last dimension contiguous, no gradient wanted.
bool HasRowKernels(const at::Tensor& x);

// x: [..., n], weight: [n] fp32; x / sqrt(mean(x²) + eps) * weight. On the CPU: ATen has it for
// GPUs.
at::Tensor RmsNormRows(const at::Tensor& x, const at::Tensor& weight, double eps);

// gate_up: [T, 2 n], a gate and the values beside it; silu(gate) * values, [T, n].
at::Tensor SiluTimesRows(const at::Tensor& gate_up);

// x * sigmoid(1.702 x).
at::Tensor QuickGeluRows(const at::Tensor& x);

// x_THD in place, heads contiguous; cos and sin: [T, 1, D / 2] fp32.
void RotateRows(const at::Tensor& x_THD, const at::Tensor& cos, const at::Tensor& sin);

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_ROWS_H_
