#include "training/assemble/vocabulary_rows.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/mean.h>

namespace llava::training {

int PaddedRows(int tokens) {
  constexpr int kMultiple = 64;
  return (tokens + kMultiple - 1) / kMultiple * kMultiple;
}

at::Tensor WithMeanRows(const at::Tensor& table, std::int64_t rows) {
  if (table.size(0) == rows) return table;
  const at::Tensor mean = table.to(at::kFloat).mean(0, /*keepdim=*/true).to(table.scalar_type());
  return at::cat({table, mean.expand({rows - table.size(0), table.size(1)})});
}

}  // namespace llava::training
