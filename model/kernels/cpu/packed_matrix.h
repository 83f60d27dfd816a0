// A weight matrix in the order in which the CPU kernels read it, and the product with it.
#ifndef LLAVA_MODEL_KERNELS_CPU_PACKED_MATRIX_H_
#define LLAVA_MODEL_KERNELS_CPU_PACKED_MATRIX_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/kernels/cpu/dispatch.h"

namespace llava::model {

// The format in which the CPU serves a model of that dtype, fp32 or bf16. bf16 is served as block
// floating point: closer to the exact product than bf16 products are, at 2 bytes and a 64th of that
// a weight.
WeightFormat WeightFormatOf(at::ScalarType dtype);

// The dtype that stands for a format where weights stay plain tensors: on GPUs, whose bf16 products
// are fast, and in tables from which rows are looked up.
at::ScalarType DtypeOf(WeightFormat format);

// Immutable; copies share the memory. Multiply may run on several threads at once.
class PackedMatrix {
 public:
  // The weights [out, in] of `parts`, one below the other, floating point on the CPU. Copies them
  // as `format` says. Takes as much memory as they have numbers of that format, to the next panel.
  PackedMatrix(std::span<const at::Tensor> parts, WeightFormat format,
               const KernelTable& kernels = Kernels());

  // x_TI: [rows, in] fp32, last dimension contiguous; bias_O: [out] fp32 or undefined. Returns
  // [rows, out] fp32. Each row's result is the same bits whatever the other rows are.
  at::Tensor Multiply(const at::Tensor& x_TI, const at::Tensor& bias_O) const;

  std::int64_t in() const { return in_; }
  std::int64_t out() const { return out_; }
  WeightFormat format() const { return format_; }

 private:
  std::int64_t panels() const { return panels_.size(0); }
  const GemmKernels& gemm() const { return kernels_->gemm[static_cast<int>(format_)]; }
  std::int64_t WeightBytes() const;  // packed
  // Packs one panel. `columns` is working memory of the calling thread.
  void Fill(std::span<const at::Tensor> parts, std::int64_t panel, std::vector<float>& columns);
  void MultiplyFew(const GemmArgs& args) const;
  void MultiplyMany(const GemmArgs& args) const;

  const KernelTable* kernels_;
  WeightFormat format_;
  std::int64_t in_, out_;
  at::Tensor panels_;  // [panels, 32-bit words of a panel]
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CPU_PACKED_MATRIX_H_
