// A weight matrix as codes with scales, in the order of its rows: how it is stored, and how rows
// of it are looked up.
#ifndef LLAVA_MODEL_KERNELS_CPU_QUANTIZED_MATRIX_H_
#define LLAVA_MODEL_KERNELS_CPU_QUANTIZED_MATRIX_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/kernels/cpu/dispatch.h"
#include "model/kernels/cpu/quantize.h"

namespace llava::model {

// A value; copies share the memory. Tensors are contiguous and on the CPU.
struct QuantizedMatrix {
  WeightFormat format = WeightFormat::kInt8;  // of codes
  std::int64_t in = 0;
  // kInt8: int8 [out, in]. kInt4: uint8 [out, (in + 1) / 2], code + 8 of an even place in the low
  // half of a byte, that of the next place in the high half.
  at::Tensor codes = {};
  at::Tensor scales = {};  // fp32 [out, groups of `in`]

  std::int64_t out() const { return codes.size(0); }
  std::int64_t size(int) const { return out(); }  // as that of a tensor, of dimension 0

  // Of that shape, its rows not written yet.
  static QuantizedMatrix Empty(WeightFormat format, std::int64_t out, std::int64_t in);

  // Writes the row's codes [in] and scales [groups].
  void ReadRow(std::int64_t row, std::int8_t* to, float* row_scales) const;
  // The inverse. Several threads may write different rows.
  void WriteRow(std::int64_t row, const std::int8_t* from, const float* row_scales);

  // rows: int64, any number of them, each in [0, out) -> fp32 [number, in].
  at::Tensor Rows(const at::Tensor& rows) const;

  // `count` rows from `first` on, fp32 [count, in]; on all threads.
  at::Tensor Numbers(std::int64_t first, std::int64_t count) const;

  // Of codes and scales of a matrix of that shape.
  static std::int64_t Bytes(WeightFormat format, std::int64_t out, std::int64_t in);
};

// weight_OI: floating point on the CPU. The same codes as those of a PackedMatrix of it.
QuantizedMatrix QuantizeMatrix(const at::Tensor& weight_OI, WeightFormat format);

}  // namespace llava::model

#endif  // LLAVA_MODEL_KERNELS_CPU_QUANTIZED_MATRIX_H_
