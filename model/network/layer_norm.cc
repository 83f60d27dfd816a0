#include "model/network/layer_norm.h"

#include <ATen/ops/layer_norm.h>

#include "absl/strings/str_cat.h"

namespace llava::model {

LayerNorm::LayerNorm(WeightSource& source, const std::string& prefix, std::int64_t size,
                     double epsilon)
    : weight(source.TakeSmall(absl::StrCat(prefix, ".weight"), {size})),
      bias(source.TakeSmall(absl::StrCat(prefix, ".bias"), {size})),
      eps(epsilon) {}

at::Tensor LayerNorm::Forward(const at::Tensor& x) const {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, eps);
}

}  // namespace llava::model
