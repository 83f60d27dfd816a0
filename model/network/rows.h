// The model's element-wise steps, each in one pass over the rows. Without gradients, for fp32 on
// the CPU and what HasCudaKernels takes: elsewhere the model says the same in ATen operators, which
// tests compare to. On GPUs, where a launch is what a step of few rows costs, an addition goes
// together with the norm behind it; the rotation of heads with the cache's writing
// (AttentionBackend::RotateAndForward).
#ifndef LLAVA_MODEL_NETWORK_ROWS_H_
#define LLAVA_MODEL_NETWORK_ROWS_H_

#include <ATen/core/Tensor.h>

#include <optional>

namespace llava::model {

// True when the functions below take x: last dimension contiguous, no gradient wanted.
bool HasRowKernels(const at::Tensor& x);

// x: [..., n], weight: [n]; x / sqrt(mean(x²) + eps) * weight, in fp32 with one rounding to the
// dtype of x. REQUIRES: HasRmsNormRows(x, weight).
at::Tensor RmsNormRows(const at::Tensor& x, const at::Tensor& weight, double eps);
// False wherever gradients are recorded, be it of the weight.
bool HasRmsNormRows(const at::Tensor& x, const at::Tensor& weight);

// The sum of x and more [T, n], rounded to their dtype, takes the place of x; returns RmsNormRows
// of it. On GPUs alone, in one launch: elsewhere nullopt, with nothing done.
std::optional<at::Tensor> AddRmsNormRows(at::Tensor& x, const at::Tensor& more,
                                         const at::Tensor& weight, double eps);

// gate_up: [T, 2 n], a gate and the values beside it; silu(gate) * values, [T, n].
at::Tensor SiluTimesRows(const at::Tensor& gate_up);

// x * sigmoid(1.702 x).
at::Tensor QuickGeluRows(const at::Tensor& x);

// x_THD in place, heads contiguous; cos and sin: [T, 1, D / 2] fp32.
void RotateRows(const at::Tensor& x_THD, const at::Tensor& cos, const at::Tensor& sin);

// The pixels that bytes [B, 3, H, W] (uint8) stand for, by one table (base/picture.h) a
// picture, [B, 3, 256] fp32, rounded to `dtype`: with the bits of a PixelTable's values wherever it
// runs.
at::Tensor PixelRows(const at::Tensor& bytes, const at::Tensor& tables, at::ScalarType dtype);

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_ROWS_H_
