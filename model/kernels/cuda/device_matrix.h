// A weight matrix of 8 bits that lies where it is multiplied: e4m3 or int8 on a GPU. On CPUs there
// is e4m3 as well, computed slowly: what GPUs are measured by where there is none.
#ifndef LLAVA_MODEL_KERNELS_CUDA_DEVICE_MATRIX_H_
#define LLAVA_MODEL_KERNELS_CUDA_DEVICE_MATRIX_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace llava::model {

// The compute capability, times 10, from which on GPUs multiply e4m3.
inline constexpr int kE4m3Capability = 89;

// Numbers of inputs and outputs of every product on GPUs are multiples of this.
inline constexpr std::int64_t kDeviceMatrixMultiple = 16;

// Immutable; copies share the memory. Multiply may run on several threads at once.
class DeviceMatrix {
 public:
  // The weights [out, in] of `parts`, one below the other, fp32 or bf16, each row rounded to e4m3
  // with a scale of its own (E4m3Scale), where they lie: on a GPU of kE4m3Capability or more or on
  // the CPU.
  static DeviceMatrix E4m3(std::span<const at::Tensor> parts);

  // The codes (int8 [out, in]) and scales (fp32 [out, groups], one for `group` inputs) of some
  // parts, one below the other, on a GPU. Copies.
  static DeviceMatrix Int8(std::span<const at::Tensor> codes, std::span<const at::Tensor> scales,
                           std::int64_t group);

  // x_TI: [rows, in] fp32 or bf16; bias_O: [out] floating point or undefined. Returns [rows, out]
  // in the dtype of x. Of e4m3 the rows of x are rounded as those of the weights are, and the
  // result is rounded to bf16 on GPUs; of int8 x stays as it is.
  at::Tensor Multiply(const at::Tensor& x_TI, const at::Tensor& bias_O) const;

  std::int64_t in() const { return codes_OI_.size(1); }
  std::int64_t out() const { return codes_OI_.size(0); }
  std::int64_t bytes() const { return codes_OI_.nbytes() + scales_.nbytes(); }

 private:
  DeviceMatrix(at::Tensor codes_OI, at::Tensor scales, std::int64_t group);
  at::Tensor MultiplyE4m3(const at::Tensor& x_TI, const at::Tensor& bias_O) const;
  at::Tensor MultiplyE4m3OnCpu(const at::Tensor& x_TI, const at::Tensor& bias_O) const;

  at::Tensor codes_OI_;  // int8, or uint8: of e4m3
  at::Tensor scales_;    // fp32 [out, groups], of e4m3 [out]
  std::int64_t group_;   // 0: of e4m3
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CUDA_DEVICE_MATRIX_H_
