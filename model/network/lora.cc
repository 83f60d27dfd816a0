#include "model/network/lora.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>

namespace llava::model {
namespace {

at::Tensor Dropped(const at::Tensor& x, double share, std::uint64_t seed) {
  const at::NoGradGuard no_grad;
  at::Tensor keep = at::empty(x.sizes(), at::kFloat);
  keep.bernoulli_(1.0 - share, at::detail::createCPUGenerator(seed));
  return keep.div_(1.0 - share).to(x.device(), x.scalar_type());
}

}  // namespace

at::Tensor Lora::Forward(const at::Tensor& x) const {
  const at::Tensor seen = dropout > 0.0 ? x * Dropped(x, dropout, seed) : x;
  const at::Tensor narrow = at::linear(seen, a_RI.to(x.scalar_type()));
  return at::linear(narrow, b_OR.to(x.scalar_type())) * scale;
}

at::Tensor Lora::Product() const {
  const at::NoGradGuard no_grad;
  return at::matmul(b_OR.to(at::kFloat), a_RI.to(at::kFloat)) * scale;
}

}  // namespace llava::model
