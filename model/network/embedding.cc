#include "model/network/embedding.h"

#include <ATen/ops/embedding.h>

#include <utility>

namespace llava::model {
namespace {

// A copy: what it was read into, the largest buffer, is free for the next weights.
QuantizedMatrix Copy(const QuantizedMatrix& matrix) {
  return {.format = matrix.format,
          .in = matrix.in,
          .codes = matrix.codes.clone(),
          .scales = matrix.scales.clone()};
}

}  // namespace

Embedding::Embedding(WeightSource& source, const std::string& name, std::int64_t rows,
                     std::int64_t size)
    : dtype_(at::kFloat), device_(at::kCPU) {
  if (auto codes = source.TakeCodes(name, rows, size)) {
    device_ = codes->codes.device();
    codes_ = Copy(*codes);
  } else {
    table_VE_ = source.Take(name, {rows, size});
    dtype_ = table_VE_.scalar_type();
    device_ = table_VE_.device();
  }
  const auto packing = source.pack();
  if (!packing) return;
  dtype_ = packing->dtype;
  wide_ = device_.is_cpu();
  if (codes_) return;
  if (wide_ && GroupOf(packing->others) > 0) {
    codes_ = QuantizeMatrix(std::exchange(table_VE_, at::Tensor()), packing->others);
  } else {
    table_VE_ = table_VE_.to(dtype_, /*non_blocking=*/false, /*copy=*/true);
  }
}

at::Tensor Embedding::Rows(const at::Tensor& ids_T) const {
  if (codes_) return codes_->Rows(ids_T);
  const at::Tensor rows_TE = at::embedding(table_VE_, ids_T);
  return wide_ ? rows_TE.to(at::kFloat) : rows_TE;
}

}  // namespace llava::model
