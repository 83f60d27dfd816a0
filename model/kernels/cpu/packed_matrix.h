// A weight matrix in the order in which the CPU kernels read it, and the product with it.
#ifndef LLAVA_MODEL_KERNELS_CPU_PACKED_MATRIX_H_
#define LLAVA_MODEL_KERNELS_CPU_PACKED_MATRIX_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/quantized_matrix.h"

namespace llava::model {

// The format in which the CPU serves a model of that dtype, fp32 or bf16. bf16 is served as block
// floating point: closer to the exact product than bf16 products are, at 2 bytes and a 64th of that
// a weight.
WeightFormat WeightFormatOf(at::ScalarType dtype);

// The dtype that stands for a format where weights stay plain tensors: on GPUs, whose bf16 products
// are fast, and in tables from which rows are looked up. REQUIRES: not a format of codes.
at::ScalarType DtypeOf(WeightFormat format);

// Immutable; copies share the memory. Multiply may run on several threads at once.
class PackedMatrix {
 public:
  // The weights [out, in] of `parts`, one below the other, floating point on the CPU. Copies them
  // as `format` says. Takes as much memory as they have numbers of that format, to the next panel.
  PackedMatrix(std::span<const at::Tensor> parts, WeightFormat format,
               const KernelTable& kernels = Kernels());

  // The same from codes, all of one format, which is then that of this matrix.
  explicit PackedMatrix(std::span<const QuantizedMatrix> parts,
                        const KernelTable& kernels = Kernels());

  // x_TI: [rows, in] fp32, last dimension contiguous; bias_O: [out] fp32 or undefined. Returns
  // [rows, out] fp32. Each row's result is the same bits whatever the other rows are.
  at::Tensor Multiply(const at::Tensor& x_TI, const at::Tensor& bias_O) const;

  std::int64_t in() const { return in_; }
  std::int64_t out() const { return out_; }
  WeightFormat format() const { return format_; }
  std::int64_t bytes() const;  // packed

 private:
  std::int64_t panels() const { return panels_.size(0); }
  const GemmKernels& gemm() const { return kernels_->gemm[static_cast<int>(format_)]; }
  // Working memory of one thread.
  struct Room {
    std::vector<float> numbers;
    std::vector<std::int8_t> codes;
    std::vector<float> scales;
  };
  // Memory for the panels, which fill(panel, room) then fills one by one.
  template <typename FillPanel>
  void MakePanels(const FillPanel& fill);
  // Calls copy(part, its first row, how many, the first one's place in the panel) for each part
  // that has rows among the columns of `panel`.
  template <typename Part, typename Copy>
  void ForEachPart(std::span<const Part> parts, std::int64_t panel, const Copy& copy) const;
  // Packs one panel from numbers, and from codes.
  void Fill(std::span<const at::Tensor> parts, std::int64_t panel, Room& room);
  void Fill(std::span<const QuantizedMatrix> parts, std::int64_t panel, Room& room);
  std::int64_t Columns(std::int64_t panel) const;  // that exist
  std::uint32_t* Panel(std::int64_t panel);
  void MultiplyFew(const GemmArgs& args) const;
  void MultiplyMany(const GemmArgs& args) const;

  const KernelTable* kernels_;
  WeightFormat format_;
  std::int64_t in_, out_;
  at::Tensor panels_;  // [panels, 32-bit words of a panel]
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CPU_PACKED_MATRIX_H_
