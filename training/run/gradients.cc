#include "training/run/gradients.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <algorithm>
#include <cmath>

namespace llava::training {

double GradientNorm(const std::vector<NamedTensor>& parameters) {
  const at::NoGradGuard no_grad;
  double sum = 0.0;
  for (const NamedTensor& parameter : parameters) {
    const at::Tensor& gradient = parameter.tensor.grad();
    if (!gradient.defined()) continue;
    const double norm =
        at::linalg_vector_norm(gradient, 2, std::nullopt, false, at::kFloat).item<double>();
    sum += norm * norm;
  }
  return std::sqrt(sum);
}

double ClipFactor(double norm, double limit) {
  return limit > 0.0 ? std::min(1.0, limit / (norm + 1e-6)) : 1.0;
}

}  // namespace llava::training
