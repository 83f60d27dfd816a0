#include "training/optim/gradients.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace llava::training {

double GradientNorm(const std::vector<model::NamedTensor>& parameters) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> norms;
  for (const model::NamedTensor& parameter : parameters) {
    const at::Tensor& gradient = parameter.tensor.grad();
    if (!gradient.defined()) continue;
    norms.push_back(at::linalg_vector_norm(gradient, 2, std::nullopt, false, at::kFloat));
  }
  if (norms.empty()) return 0.0;
  const at::Tensor all = at::stack(norms).cpu();  // a GPU is waited for once
  double sum = 0.0;
  for (std::int64_t i = 0; i < all.size(0); ++i) {
    const double norm = all.const_data_ptr<float>()[i];
    sum += norm * norm;
  }
  return std::sqrt(sum);
}

double ClipFactor(double norm, double limit) {
  return limit > 0.0 ? std::min(1.0, limit / (norm + 1e-6)) : 1.0;
}

}  // namespace llava::training
