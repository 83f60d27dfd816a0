// The table from which token ids get their rows.
#ifndef LLAVA_MODEL_NETWORK_EMBEDDING_H_
#define LLAVA_MODEL_NETWORK_EMBEDDING_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

#include "model/network/linear.h"
#include "model/network/weights.h"

namespace llava::model {

// Shape letters: V rows, E their size, T tokens. A value; copies share the table.
class Embedding {
 public:
  // [V, E] of that name. Packed, a copy: of codes where the packing has them for it.
  Embedding(WeightSource& source, const std::string& name, std::int64_t rows, std::int64_t size);

  // ids_T: int64 in [0, V) -> [T, E]; fp32 where packed on the CPU.
  at::Tensor Rows(const at::Tensor& ids_T) const;

  // The same table as a layer [E] -> [V], not packed.
  Linear AsLinear() const { return codes_ ? Linear(*codes_) : Linear(table_VE_); }

  at::ScalarType dtype() const { return dtype_; }  // Packing::dtype, or of the table
  at::Device device() const { return device_; }

 private:
  at::Tensor table_VE_;
  std::optional<QuantizedMatrix> codes_;  // in its place
  at::ScalarType dtype_;
  at::Device device_;
  bool wide_ = false;  // rows become fp32
};

}  // namespace llava::model

#endif  // LLAVA_MODEL_NETWORK_EMBEDDING_H_
