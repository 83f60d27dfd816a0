// A weight matrix in the order in which the CPU kernels read it, and the product with it.
#ifndef LLAVA_MODEL_KERNELS_CPU_PACKED_MATRIX_H_
#define LLAVA_MODEL_KERNELS_CPU_PACKED_MATRIX_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/kernels/cpu/dispatch.h"

namespace llava::model {

// Immutable; copies share the memory. Multiply may run on several threads at once.
class PackedMatrix {
 public:
  // The weights [out, in] of `parts`, one below the other, floating point on the CPU. Copies them
  // as `dtype`: fp32, or bf16, which is held and multiplied as block floating point
  // (block_float_format.h: closer to the exact product than bf16 products are, at 2 bytes and a
  // 64th of that a weight). Takes that much memory again, to the next panel.
  PackedMatrix(std::span<const at::Tensor> parts, at::ScalarType dtype,
               const KernelTable& kernels = Kernels());

  // x_TI: [rows, in] fp32, last dimension contiguous; bias_O: [out] fp32 or undefined. Returns
  // [rows, out] fp32. Each row's result is the same bits whatever the other rows are.
  at::Tensor Multiply(const at::Tensor& x_TI, const at::Tensor& bias_O) const;

  std::int64_t in() const { return in_; }
  std::int64_t out() const { return out_; }
  at::ScalarType dtype() const { return dtype_; }

 private:
  std::int64_t panels() const { return panels_.size(0); }
  const GemmKernels& gemm() const {
    return dtype_ == at::kFloat ? kernels_->gemm_fp32 : kernels_->gemm_bf16;
  }
  std::int64_t WeightBytes() const;  // packed
  // columns: room of the calling thread.
  void Fill(std::span<const at::Tensor> parts, std::int64_t panel, std::vector<float>& columns);
  void MultiplyFew(const GemmArgs& args) const;
  void MultiplyMany(const GemmArgs& args) const;

  const KernelTable* kernels_;
  at::ScalarType dtype_;
  std::int64_t in_, out_;
  at::Tensor panels_;  // [panels, 32-bit words of a panel]
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CPU_PACKED_MATRIX_H_
