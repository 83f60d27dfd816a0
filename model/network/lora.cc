#include "model/network/lora.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/checkpoint/weight_names.h"

namespace llava::model {
namespace {

// Rows of a sum that are in memory at once, to be measured.
constexpr std::int64_t kMeasuredRows = 256;

using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

// SplitMix64's last step: 64 bits that depend on each bit of `z`.
std::uint64_t Mixed(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// Which elements stay depends on the seed and their places alone, so that the backward pass drops
// the same ones without anything being kept; 16 bits decide about each.
template <typename T>
void Drop(const T* x, T* y, std::int64_t count, double share, std::uint64_t seed) {
  constexpr std::int64_t kPerDraw = 4;
  constexpr double kOnes = 65536.0;
  const auto dropped = static_cast<std::uint64_t>(std::lround(share * kOnes));
  const auto factor = static_cast<float>(kOnes / (kOnes - static_cast<double>(dropped)));
  const std::int64_t draws = (count + kPerDraw - 1) / kPerDraw;
  at::parallel_for(0, draws, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t draw = begin; draw < end; ++draw) {
      const auto place = static_cast<std::uint64_t>(draw) + 1;
      std::uint64_t bits = Mixed(seed + place * 0x9E3779B97F4A7C15u);
      const std::int64_t last = std::min(count, (draw + 1) * kPerDraw);
      for (std::int64_t i = draw * kPerDraw; i < last; ++i, bits >>= 16) {
        const bool stays = (bits & 0xFFFF) >= dropped;
        y[i] = static_cast<T>(stays ? static_cast<float>(x[i]) * factor : 0.0F);
      }
    }
  });
}

at::Tensor Dropped(const at::Tensor& x, double share, std::uint64_t seed) {
  if (share <= 0.0) return x;
  if (!x.is_cpu()) {
    const at::Tensor keep = at::ones(x.sizes(), at::kFloat);
    return x * Dropped(keep, share, seed).to(x.device(), x.scalar_type());
  }
  const at::Tensor dense = x.contiguous();
  at::Tensor y = at::empty_like(dense);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "Drop", [&] {
    Drop(dense.const_data_ptr<scalar_t>(), y.mutable_data_ptr<scalar_t>(), dense.numel(), share,
         seed);
  });
  return y;
}

struct Settings {
  double scale;
  double dropout;
  std::uint64_t seed;
};

// Keeps the layer's input, which other layers keep too, and computes the rest again: what is
// dropped and the narrow product are cheap beside a full layer, and large beside its gradient.
class LoraNode final : public Node {
 public:
  LoraNode(const at::Tensor& x, const at::Tensor& a_RI, const at::Tensor& b_OR,
           const Settings& settings)
      : x_(x, /*is_output=*/false),
        a_RI_(a_RI, /*is_output=*/false),
        b_OR_(b_OR, /*is_output=*/false),
        settings_(settings) {}

  variable_list apply(variable_list&& gradients) override {
    const at::NoGradGuard no_grad;
    const at::Tensor x = x_.unpack();
    const at::Tensor a_RI = a_RI_.unpack();
    const at::Tensor b_OR = b_OR_.unpack();
    const auto [scale, dropout, seed] = settings_;
    const at::Tensor seen_NI = Dropped(x, dropout, seed).reshape({-1, a_RI.size(1)});
    const at::Tensor gradient_NO = gradients[0].reshape({-1, b_OR.size(0)});
    const at::Tensor narrow_NR = at::linear(seen_NI, a_RI.to(x.scalar_type()));
    const at::Tensor back_NR = at::matmul(gradient_NO, b_OR.to(x.scalar_type())).mul_(scale);
    variable_list result(3);
    if (task_should_compute_output(0)) {
      const at::Tensor wide = at::matmul(back_NR, a_RI.to(x.scalar_type())).view(x.sizes());
      result[0] = Dropped(wide, dropout, seed);
    }
    result[1] = at::matmul(back_NR.t(), seen_NI).to(a_RI.scalar_type());
    result[2] = at::matmul(gradient_NO.t(), narrow_NR).mul_(scale).to(b_OR.scalar_type());
    return result;
  }

  void release_variables() override {
    x_.reset_data();
    a_RI_.reset_data();
    b_OR_.reset_data();
  }

  std::string name() const override { return "Lora"; }

 private:
  SavedVariable x_;
  SavedVariable a_RI_;
  SavedVariable b_OR_;
  const Settings settings_;
};

}  // namespace

at::Tensor Lora::Forward(const at::Tensor& x) const {
  at::Tensor y;
  {
    const at::NoGradGuard no_grad;
    at::Tensor narrow = at::linear(Dropped(x, dropout, seed), a_RI.to(x.scalar_type()));
    y = at::linear(narrow.mul_(scale), b_OR.to(x.scalar_type()));
  }
  const bool learns = x.requires_grad() || a_RI.requires_grad() || b_OR.requires_grad();
  if (!at::GradMode::is_enabled() || !learns) return y;
  const auto node = std::shared_ptr<LoraNode>(new LoraNode(x, a_RI, b_OR, {scale, dropout, seed}),
                                              torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(x, a_RI, b_OR));
  torch::autograd::set_history(y, node);
  return y;
}

at::Tensor Lora::Lengths(const at::Tensor& weight_OI) const {
  const at::NoGradGuard no_grad;
  const at::Tensor a = a_RI.to(at::kFloat);
  std::vector<at::Tensor> lengths;
  for (std::int64_t row = 0; row < weight_OI.size(0); row += kMeasuredRows) {
    const std::int64_t rows = std::min(kMeasuredRows, weight_OI.size(0) - row);
    const at::Tensor sum = at::addmm(weight_OI.narrow(0, row, rows).to(at::kFloat),
                                     b_OR.narrow(0, row, rows).to(at::kFloat), a, 1.0, scale);
    lengths.push_back(at::linalg_vector_norm(sum, 2, at::IntArrayRef({1})));
  }
  return at::cat(lengths);
}

at::Tensor Lora::Factors(const at::Tensor& weight_OI) const {
  // A row of zeros has no direction that could be scaled: it stays one.
  const at::Tensor lengths = lengths_O.defined() ? lengths_O : Lengths(weight_OI);
  return magnitude_O / lengths.clamp_min(std::numeric_limits<float>::min());
}

at::Tensor Lora::Merged(const at::Tensor& weight_OI) const {
  const at::NoGradGuard no_grad;
  at::Tensor merged =
      at::addmm(weight_OI.to(at::kFloat), b_OR.to(at::kFloat), a_RI.to(at::kFloat), 1.0, scale);
  return magnitude_O.defined() ? merged.mul_(Factors(weight_OI).unsqueeze(1)) : merged;
}

std::map<std::string, Lora> LorasOf(const AdapterWeights& adapter) {
  std::map<std::string, Lora> loras;
  for (const AdaptedWeights& one : adapter.products) {
    loras[absl::StrCat(kLanguagePrefix, "layers.", one.product.layer, ".", one.product.name,
                       ".weight")] = {
        .a_RI = one.a_RI, .b_OR = one.b_OR, .magnitude_O = one.magnitude_O};
  }
  return loras;
}

}  // namespace llava::model
