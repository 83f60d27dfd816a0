// A weight matrix in the order in which the CPU kernels read it, and the product with it.
#ifndef LLAVA_MODEL_KERNELS_PACKED_MATRIX_H_
#define LLAVA_MODEL_KERNELS_PACKED_MATRIX_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/kernels/dispatch.h"

namespace llava::model {

// Immutable; copies share the memory. Multiply may run on several threads at once.
class PackedMatrix {
 public:
  // weight_OI: [out, in], fp32 or bf16, on the CPU. Copies it; needs as much memory again, to the
  // next panel.
  explicit PackedMatrix(const at::Tensor& weight_OI, const KernelTable& kernels = Kernels());

  // x_TI: [rows, in] fp32, last dimension contiguous; bias_O: [out] fp32 or undefined. Returns
  // [rows, out] fp32. Each row's result is the same bits whatever the other rows are.
  at::Tensor Multiply(const at::Tensor& x_TI, const at::Tensor& bias_O) const;

  // The weight again, as it was given.
  at::Tensor Unpack() const;

  std::int64_t in() const { return in_; }
  std::int64_t out() const { return out_; }
  at::ScalarType dtype() const { return dtype_; }

 private:
  std::int64_t panels() const;
  void MultiplyFew(const GemmArgs& args) const;
  void MultiplyMany(const GemmArgs& args) const;

  const KernelTable* kernels_;
  at::ScalarType dtype_;
  std::int64_t in_, out_;
  at::Tensor panels_;  // [panels, elements of a panel]
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_PACKED_MATRIX_H_
